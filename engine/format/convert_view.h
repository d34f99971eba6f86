/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* An output as the source of another: protected weights have the dtype that they had. Inside of convert. */
#pragma once

#include "engine/format/format.h"
#include "engine/format/output_state.h"
#include "engine/format/saved_mask.h"

/* Weights of an opened output, whose quantized ones have this dtype (enum cwp_dtype): exact at protected places, rounded
 * elsewhere. source is borrowed; *ret is closed with cwe_weights_close. */
int cwe_convert_view_open(struct cwe_weights *source, const struct cwe_output_weights *o, uint32_t dtype,
	struct cwe_weights **ret, struct cwb_err *err);
/* The dtype that protected values had: the narrowest of the output's other tensors that holds all of them, else F32. */
int cwe_convert_dtype(struct cwe_weights *source, const struct cwe_output_weights *o, const struct cwe_saved_mask *mask,
	uint32_t *ret, struct cwb_err *err);
