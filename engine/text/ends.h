/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* The tokens that end what a model says. */
#pragma once

#include "engine/format/source.h"
#include "engine/text/tokenizer.h"

/* eos_token_id (a number or a list) of generation_config.json, or of config.json where that file is not there, and the
 * tokenizer's eos_token; none of them twice, perhaps none at all. t may be NULL. *ret->id is freed with free().
 * CWP_EVALUE: an id that is none, with the file's name. */
int cwe_end_tokens(struct cwe_source *source, const struct cwe_tokenizer *t, struct cwe_ids *ret, struct cwb_err *err);
