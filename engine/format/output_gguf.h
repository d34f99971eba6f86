/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Outputs that are one GGUF file: model.gguf and nothing of an engine's beside it. */
#pragma once

#include "engine/format/output.h"

/* Whether a folder is one: a model.gguf and no config.json. */
int cwe_output_gguf_is(const char *directory);
/* As cwe_output_measure. Protected modules are no quantized ones. */
int cwe_output_gguf_measure(const char *directory, struct cwe_output_size *ret, struct cwb_err *err);
/* As cwe_output_check: header, layout, names, and that the metadata are those of a model. */
int cwe_output_gguf_check(const char *directory, struct cwb_err *err);
