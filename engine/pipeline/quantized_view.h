/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* The plainly quantized model as weights, nothing protected: every quantized module is put on its grid as it is read or, where
 * the quantizer is calibrated, comes from codes on scratch. What an evaluation compares protection with. */
#pragma once

#include "engine/pipeline/plain.h"
#include "engine/pipeline/run.h"

/* inputs: weights that say how the Linears' inputs are quantized, those of the run's output; NULL: not at all. Both must
 * outlive the view. *ret is closed with cwe_weights_close; the source's weights stay open. */
int cwe_quantized_view_open(struct cwe_run *run, const struct cwe_weights *inputs, const struct cwe_plain *plain,
	struct cwe_weights **ret, struct cwb_err *err);
