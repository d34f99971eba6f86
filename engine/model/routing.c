/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Softmax over experts, the top k of them, and its gradient. */
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "engine/model/routing.h"

int cwe_routing_new(const struct cwe_moe *moe, uint64_t tokens, struct cwe_routing *ret, struct cwb_err *err)
{
	struct cwe_routing r = {.experts = moe->experts, .top_k = moe->top_k, .normalize = moe->normalize};
	uint64_t n = tokens * moe->top_k + 1;
	r.probability = calloc(tokens * moe->experts + 1, sizeof *r.probability);
	r.expert = calloc(n, sizeof *r.expert);
	r.place = calloc(n, sizeof *r.place);
	r.start = calloc((uint64_t)moe->experts + 1, sizeof *r.start);
	r.token = calloc(n, sizeof *r.token);
	r.weight = calloc(n, sizeof *r.weight);
	if (r.probability == NULL || r.expert == NULL || r.place == NULL || r.start == NULL || r.token == NULL ||
		r.weight == NULL) {
		cwe_routing_free(&r);
		return cwb_err_set(err, -ENOMEM, "no memory for routing %llu tokens", (unsigned long long)tokens);
	}
	*ret = r;
	return 0;
}

void cwe_routing_free(struct cwe_routing *r)
{
	free(r->probability);
	free(r->expert);
	free(r->place);
	free(r->start);
	free(r->token);
	free(r->weight);
	free(r->sample);
	memset(r, 0, sizeof *r);
}

static void softmax(const float *logit, uint32_t n, float *p)
{
	float most = -INFINITY;
	double sum = 0;
	for (uint32_t i = 0; i < n; i++) {
		most = logit[i] > most ? logit[i] : most;
	}
	for (uint32_t i = 0; i < n; i++) {
		p[i] = expf(logit[i] - most);
		sum += (double)p[i];
	}
	for (uint32_t i = 0; i < n; i++) {
		p[i] = (float)((double)p[i] / sum);
	}
}

/* The k largest, by insertion: k is small. */
static void choose(const float *p, uint32_t n, uint32_t k, uint32_t *chosen)
{
	uint32_t count = 0;
	for (uint32_t i = 0; i < n; i++) {
		uint32_t at = count;
		while (at > 0 && p[i] > p[chosen[at - 1]]) {
			at--;
		}
		if (at == k) {
			continue;
		}
		count += count < k;
		memmove(chosen + at + 1, chosen + at, (count - at - 1) * sizeof *chosen);
		chosen[at] = i;
	}
}

void cwe_routing_choose(struct cwe_routing *r, const float *logits, uint64_t tokens)
{
	uint32_t e = r->experts, k = r->top_k;
	r->tokens = tokens;
	memset(r->start, 0, ((uint64_t)e + 1) * sizeof *r->start);
	for (uint64_t t = 0; t < tokens; t++) {
		softmax(logits + t * e, e, r->probability + t * e);
		choose(r->probability + t * e, e, k, r->expert + t * k);
		for (uint32_t j = 0; j < k; j++) {
			r->start[r->expert[t * k + j] + 1]++;
		}
	}
	for (uint32_t i = 0; i < e; i++) {
		r->start[i + 1] += r->start[i];
	}
	/* Filled through the starts themselves, which each move on to the next expert's. */
	for (uint64_t t = 0; t < tokens; t++) {
		double sum = 0;
		for (uint32_t j = 0; j < k; j++) {
			sum += (double)r->probability[t * e + r->expert[t * k + j]];
		}
		for (uint32_t j = 0; j < k; j++) {
			uint32_t expert = r->expert[t * k + j];
			uint64_t at = r->start[expert]++;
			double p = (double)r->probability[t * e + expert];
			r->place[t * k + j] = (uint32_t)at;
			r->token[at] = (uint32_t)t;
			r->weight[at] = (float)(r->normalize ? p / sum : p);
		}
	}
	memmove(r->start + 1, r->start, e * sizeof *r->start);
	r->start[0] = 0;
}

int cwe_routing_samples(struct cwe_routing *r, uint32_t expert, const struct cwp_sequences *samples,
	struct cwp_sequences *ret, struct cwb_err *err)
{
	if (samples->count + 1 > r->samples) {
		uint64_t *more = realloc(r->sample, (samples->count + 1) * sizeof *more);
		if (more == NULL) {
			return cwb_err_set(err, -ENOMEM, "no memory for an expert's samples");
		}
		r->sample = more;
		r->samples = samples->count + 1;
	}
	uint64_t at = r->start[expert], end = r->start[expert + 1];
	for (uint64_t s = 0; s <= samples->count; s++) {
		while (samples->count > 0 && at < end && r->token[at] < samples->start[s]) {
			at++;
		}
		r->sample[s] = at - r->start[expert];
	}
	*ret = (struct cwp_sequences){samples->count, r->sample};
	return 0;
}

void cwe_routing_backward(const struct cwe_routing *r, const float *dweight, float *dlogits)
{
	uint32_t e = r->experts, k = r->top_k;
	for (uint64_t t = 0; t < r->tokens; t++) {
		float p[CWE_EXPERTS_MAX], *out = dlogits + t * e;
		memcpy(p, r->probability + t * e, e * sizeof *p);
		double chosen = 0, through = 0, total = 0;
		for (uint32_t j = 0; j < k; j++) {
			uint32_t at = r->place[t * k + j];
			chosen += (double)p[r->expert[t * k + j]];
			through += (double)dweight[at] * (double)r->weight[at];
		}
		memset(out, 0, e * sizeof *out);
		for (uint32_t j = 0; j < k; j++) {
			/* w = p / sum of the chosen, or w = p. */
			double dw = (double)dweight[r->place[t * k + j]];
			double dp = r->normalize ? (dw - through) / chosen : dw;
			uint32_t expert = r->expert[t * k + j];
			out[expert] = (float)dp;
			total += dp * (double)p[expert];
		}
		for (uint32_t i = 0; i < e; i++) {
			out[i] = (float)((double)p[i] * ((double)out[i] - total));
		}
	}
}
