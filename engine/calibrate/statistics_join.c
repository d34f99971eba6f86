/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Statistics of one layer and set, gathered on several devices, in one. */
#include "engine/calibrate/lanes.h"
#include "engine/calibrate/statistics.h"
#include "engine/model/ops.h"

/* Those of the devices' arrays that are at the same place in each block as `first` is in the first one. */
struct joining {
	struct cwe_statistics *const *s;
	uint32_t n;
};

static int reduce(const struct joining *j, uint32_t kind, const void *first, uint64_t count, struct cwb_err *err)
{
	struct cwe_device *device = j->s[0]->model->device;
	void *b[CWE_LANES_MAX], *d_x[CWE_LANES_MAX];
	if (first == NULL || count == 0) {
		return 0;
	}
	uint64_t at = (uint64_t)((const char *)first - (const char *)j->s[0]->d_block);
	for (uint32_t k = 0; k < j->n; k++) {
		b[k] = j->s[k]->model->device->b;
		d_x[k] = (char *)j->s[k]->d_block + at;
	}
	return cwe_device_check(device, "reduce", device->ops->reduce(b, j->n, kind, d_x, count), err);
}

/* Gradients, and what is measured of inputs. */
static int join_devices(const struct joining *j, struct cwb_err *err)
{
	const struct cwe_statistics *s = j->s[0];
	static const uint32_t act_bit[3] = {CWP_STAT_ACT_SUM, CWP_STAT_ACT_SQ, CWP_STAT_ACT_ABS};
	uint64_t weights, inputs;
	cwe_linears_sum(&s->model->arch, s->layer, &weights, &inputs);
	int r = 0;
	for (uint32_t i = 0; r == 0 && i < 3; i++) {
		r = reduce(j, CWP_REDUCE_SUM_F32, s->d_grad[i], weights, err);
		r = r == 0 ? reduce(j, CWP_REDUCE_SUM_F32, s->d_bias[i], s->biases, err) : r;
		if (r == 0 && (s->needs & act_bit[i])) {
			r = reduce(j, CWP_REDUCE_SUM_F64, s->d_act + i * s->inputs, inputs, err);
		}
	}
	if (r == 0 && (s->needs & CWP_STAT_ACT_ABSMAX)) {
		r = reduce(j, CWP_REDUCE_MAX_F32, s->d_absmax, inputs, err);
	}
	struct cwe_statistics_place all = cwe_statistics_places(s);
	r = r == 0 ? reduce(j, CWP_REDUCE_SUM_F32, s->d_gram, all.gram, err) : r;
	return r == 0 ? reduce(j, CWP_REDUCE_SUM_U64, s->d_histogram, all.input * CWP_HISTOGRAM_BINS, err) : r;
}

/* What is counted on the host. */
static void join_host(struct cwe_statistics *y, const struct cwe_statistics *x)
{
	for (uint32_t i = 0; i < cwe_linears(&y->model->arch, y->layer); i++) {
		y->tokens[i] += x->tokens[i];
	}
	for (uint64_t i = 0; y->range != NULL && i < y->inputs; i++) {
		float least = x->range[i], greatest = x->range[x->inputs + i];
		y->range[i] = least < y->range[i] ? least : y->range[i];
		y->range[y->inputs + i] = greatest > y->range[y->inputs + i] ? greatest : y->range[y->inputs + i];
	}
}

int cwe_statistics_join(struct cwe_statistics *const *s, uint32_t n, struct cwb_err *err)
{
	for (uint32_t k = 1; k < n; k++) {
		join_host(s[0], s[k]);
	}
	const struct joining j = {s, n};
	return n > 1 ? join_devices(&j, err) : 0;
}
