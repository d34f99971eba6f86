/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* From the last layer's output to logits, and back. */
#include "engine/model/model.h"
#include "engine/model/ops.h"

int cwe_model_norm(struct cwe_model *m, const float *d_x, const float *d_w, uint64_t rows, float *d_y, float *d_rstd,
	struct cwb_err *err)
{
	return CWE_OP(m->device, rmsnorm, d_x, d_w, m->arch.norm_offset, m->arch.norm_eps, rows, m->arch.hidden, d_y, d_rstd);
}

int cwe_model_norm_backward(struct cwe_model *m, const float *d_dy, const float *d_x, const float *d_w, const float *d_rstd,
	uint64_t rows, float *d_dx, const struct cwp_sequences *samples, float *d_dw, struct cwb_err *err)
{
	return CWE_OP(m->device, rmsnorm_backward, d_dy, d_x, d_w, m->arch.norm_offset, d_rstd, rows, m->arch.hidden, 0, d_dx,
		samples, d_dw);
}

int cwe_model_logits(struct cwe_model *m, const float *d_h, uint64_t rows, const float *d_w, uint64_t n, float *d_logits,
	struct cwb_err *err)
{
	uint64_t d = m->arch.hidden;
	int r = CWE_OP(m->device, matmul, 0, 1, rows, n, d, d_h, d, d_w, d, 0, d_logits, n);
	return r == 0 && m->arch.logit_softcap > 0 ? CWE_OP(m->device, softcap, d_logits, rows * n, m->arch.logit_softcap) : r;
}

int cwe_model_logits_backward(struct cwe_model *m, const struct cwe_slice *s, float *d_logits, float *d_spare,
	struct cwb_err *err)
{
	int capped = m->arch.logit_softcap > 0;
	int r = capped ? cwe_device_copy(m->device, d_spare, d_logits, s->rows * s->n, err) : 0;
	r = r == 0 ? CWE_OP(m->device, xent_backward, d_logits, s->rows, s->n, s->n, s->first, s->d_target, s->d_weight, s->d_lse)
		   : r;
	return r == 0 && capped ? CWE_OP(m->device, softcap_backward, d_logits, d_spare, s->rows * s->n, m->arch.logit_softcap)
				: r;
}
