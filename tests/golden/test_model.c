/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Logits, losses and the statistics of every parameter of the tiny models of every family equal PyTorch's, with config.json in both spellings. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "engine/calibrate/loglik.h"
#include "engine/calibrate/parameters.h"
#include "engine/format/safetensors.h"
#include "tests/golden/engine.h"

struct golden {
	struct test_engine engine;
	struct cwe_safetensors *file;
	struct cwe_sample_set set;
	struct cwe_corpus corpus;
	float *want;      /* of the tensor at hand */
	size_t compared;
	double worst;
};

static void *read_tensor(struct cwe_safetensors *f, const char *name, size_t *ret_bytes)
{
	struct cwb_err err = {0};
	const struct cwe_safetensors_entry *e = cwe_safetensors_find(f, name);
	if (e == NULL) {
		fail_msg("the reference has no %s", name);
		return NULL;
	}
	*ret_bytes = e->bytes;
	void *p = malloc(*ret_bytes + 1);
	assert_non_null(p);
	assert_int_equal(cwe_safetensors_read(f, e, 0, p, *ret_bytes, &err), 0);
	return p;
}

/* N sequences of T tokens, each a sample with weight 1/(T - 1) on all but the first. */
static void make_samples(struct golden *g)
{
	size_t bytes;
	const struct cwe_safetensors_entry *e = cwe_safetensors_find(g->file, "input_ids");
	int64_t *id = read_tensor(g->file, "input_ids", &bytes);
	size_t n = e->shape[0], t = e->shape[1];
	g->set = (struct cwe_sample_set){.sample = calloc(n, sizeof *g->set.sample), .count = n, .tokens = n * t};
	for (size_t i = 0; i < n; i++) {
		struct cwe_sequence *s = calloc(1, sizeof *s);
		s->id = calloc(t, sizeof *s->id);
		s->weight = calloc(t, sizeof *s->weight);
		s->count = t;
		for (size_t k = 0; k < t; k++) {
			s->id[k] = (uint32_t)id[i * t + k];
			s->weight[k] = k > 0 ? 1.0f / (float)(t - 1) : 0;
		}
		g->set.sample[i].sequence = s;
		g->set.sample[i].count = 1;
	}
	free(id);
	struct cwb_err err = {0};
	assert_int_equal(cwe_corpus_new(&g->set, 1, 0, &g->corpus, &err), 0);
}

static void open_golden(struct golden *g, const char *name, void (*change)(json_t *config))
{
	char folder[64], file[96];
	struct cwb_err err = {0};
	memset(g, 0, sizeof *g);
	(void)snprintf(folder, sizeof folder, "golden/%s", name);
	(void)snprintf(file, sizeof file, "golden/%s/golden.safetensors", name);
	test_engine_open(&g->engine, test_shared(folder), 2, change);
	if (cwe_safetensors_open(test_shared(file), &g->file, &err) != 0) {
		fail_msg("%s", err.message);
	}
	make_samples(g);
}

static void close_golden(struct golden *g)
{
	for (size_t i = 0; i < g->set.count; i++) {
		free(g->set.sample[i].sequence->id);
		free(g->set.sample[i].sequence->weight);
		free(g->set.sample[i].sequence);
	}
	free(g->set.sample);
	free(g->want);
	cwe_corpus_free(&g->corpus);
	cwe_safetensors_close(g->file);
	test_engine_close(&g->engine);
}

static int compare_logits(void *arg, uint64_t sequence, uint64_t tokens, uint64_t first, uint64_t n, const float *logits,
	struct cwb_err *err)
{
	struct golden *g = arg;
	uint64_t v = g->engine.model.arch.vocabulary;
	(void)err;
	for (uint64_t t = 0; t < tokens; t++) {
		for (uint64_t i = 0; i < n; i++) {
			double d = fabs((double)logits[t * n + i] - (double)g->want[(sequence * tokens + t) * v + first + i]);
			g->worst = d > g->worst || isnan(d) ? d : g->worst;
			g->compared++;
		}
	}
	return 0;
}

static void check_logits(const char *name, void (*change)(json_t *config))
{
	struct golden g;
	struct cwb_err err = {0};
	struct cwe_forward_options o = {.memory = UINT64_MAX};
	size_t bytes;
	open_golden(&g, name, change);
	g.want = read_tensor(g.file, "logits", &bytes);
	if (cwe_logits_run(&g.engine.model, &g.corpus, &o, compare_logits, &g, &err) != 0) {
		fail_msg("%s: %s", name, err.message);
	}
	assert_int_equal(g.compared * sizeof(float), bytes);
	print_message("%s: largest logit difference %.3g\n", name, g.worst);
	assert_true(g.worst <= 1e-4);
	close_golden(&g);
}

static void check_loss(const char *name, void (*change)(json_t *config))
{
	struct golden g;
	struct cwb_err err = {0};
	struct cwe_forward_options o = {.memory = UINT64_MAX};
	size_t bytes;
	open_golden(&g, name, change);
	g.want = read_tensor(g.file, "loss", &bytes);
	struct cwe_token_score score = {.nll = calloc(g.corpus.tokens, sizeof(float))};
	if (cwe_loglik_run(&g.engine.model, &g.corpus, &o, &score, &err) != 0) {
		fail_msg("%s", err.message);
	}
	size_t t = g.set.sample[0].sequence->count;
	for (size_t i = 0; i < g.set.count; i++) {
		double loss = 0;
		for (size_t k = 1; k < t; k++) {
			loss += (double)score.nll[i * t + k] / (double)(t - 1);
		}
		if (!(fabs(loss - (double)g.want[i]) <= 1e-5)) {
			fail_msg("%s: loss of sequence %zu is %.7f, the reference says %.7f", name, i, loss, (double)g.want[i]);
		}
	}
	free(score.nll);
	close_golden(&g);
}

/* The reference's tensor for a statistic, and where in it this one begins: it keeps all experts of a layer in one tensor,
 * gate and up of each together, under the name that its own module has. NULL when it has none. */
static const struct cwe_safetensors_entry *find_reference(const struct golden *g, const char *name, uint64_t rows,
	uint64_t cols, uint64_t *ret_at)
{
	const struct cwe_moe *moe = &g->engine.model.arch.moe;
	const char *expert = moe->experts > 0 ? strstr(name, moe->prefix) : NULL;
	const char *router = moe->experts > 0 ? strstr(name, moe->router) : NULL;
	char fused[160];
	*ret_at = 0;
	if (expert != NULL) {
		unsigned e = 0;
		char which[24] = "";
		(void)sscanf(expert + strlen(moe->prefix), ".%u.%20[a-z0-9_]", &e, which);
		int down = strcmp(which, moe->down) == 0, up = strcmp(which, moe->up) == 0;
		(void)snprintf(fused, sizeof fused, "%.*smlp.experts.%s", (int)(expert - name), name, down ? "down_proj" : "gate_up_proj");
		*ret_at = (down ? e : 2 * e + (up ? 1 : 0)) * rows * cols;
		name = fused;
	} else if (router != NULL && strstr(name, "shared") == NULL) {
		(void)snprintf(fused, sizeof fused, "%.*smlp.gate%s", (int)(router - name), name, router + strlen(moe->router));
		name = fused;
	}
	return cwe_safetensors_find(g->file, name);
}

/* Within 1e-3 of the tensor's largest value. */
static int compare_parameter(void *arg, const char *name, uint64_t rows, uint64_t cols, const float *value,
	struct cwb_err *err)
{
	struct golden *g = arg;
	uint64_t n = rows * (cols > 0 ? cols : 1), at = 0;
	const struct cwe_safetensors_entry *e = find_reference(g, name, rows, cols, &at);
	if (e == NULL && g->engine.model.arch.moe.experts > 0 && strncmp(name, "act_", 4) == 0) {
		return 0; /* it has no module for the inputs of single experts and of routers */
	}
	size_t bytes = e != NULL ? e->bytes : 0;
	float *want = e != NULL ? malloc(bytes) : NULL;
	if (want == NULL) {
		fail_msg("the reference has no %s", name);
		return 0;
	}
	assert_int_equal(cwe_safetensors_read(g->file, e, 0, want, bytes, err), 0);
	assert_true((at + n) * sizeof(float) <= bytes);
	double most = 0, worst = 0;
	for (uint64_t i = 0; i < bytes / sizeof *want; i++) {
		most = fmax(most, fabs((double)want[i]));
	}
	for (uint64_t i = 0; i < n; i++) {
		double d = fabs((double)value[i] - (double)want[at + i]);
		worst = d > worst || isnan(d) ? d : worst;
	}
	if (!(worst <= 1e-3 * most)) {
		fail_msg("%s: difference %.3g where the largest value is %.3g", name, worst, most);
	}
	g->worst = fmax(g->worst, most > 0 ? worst / most : 0);
	g->compared += n;
	free(want);
	return 0;
}

static void check_statistics(const char *name, void (*change)(json_t *config))
{
	struct golden g;
	struct cwb_err err = {0};
	uint64_t elements = 0;
	open_golden(&g, name, change);
	if (cwe_parameters_run(&g.engine.model, &g.corpus, NULL, compare_parameter, &g, &err) != 0) {
		fail_msg("%s: %s", name, err.message);
	}
	/* Every number of the reference was compared: all its tensors but ids, logits and loss. */
	for (size_t i = 0; i < g.file->count; i++) {
		const char *t = g.file->entries[i].name;
		elements += strncmp(t, "grad_", 5) == 0 || strncmp(t, "act_", 4) == 0 ? g.file->entries[i].bytes / sizeof(float) : 0;
	}
	assert_int_equal(g.compared, elements);
	print_message("%s: %zu numbers, largest relative difference %.3g\n", name, g.compared, g.worst);
	close_golden(&g);
}

/* The spelling of config.json that most models on hubs have. */
static void old_spelling(json_t *config)
{
	const char *family = json_string_value(json_object_get(config, "model_type"));
	json_t *rope = json_incref(json_object_get(config, "rope_parameters"));
	(void)json_object_del(config, "rope_parameters");
	(void)json_object_del(config, "layer_types");
	if (strcmp(family, "gemma3_text") == 0) {
		const json_t *full = json_object_get(rope, "full_attention"), *local = json_object_get(rope, "sliding_attention");
		(void)json_object_set(config, "rope_theta", json_object_get(full, "rope_theta"));
		(void)json_object_set(config, "rope_local_base_freq", json_object_get(local, "rope_theta"));
		/* Two layers, the second of which sees everything. */
		(void)json_object_set_new(config, "sliding_window_pattern", json_integer(2));
	} else {
		(void)json_object_set(config, "rope_theta", json_object_get(rope, "rope_theta"));
		(void)json_object_del(rope, "rope_theta");
		json_t *partial = json_object_get(rope, "partial_rotary_factor");
		if (partial != NULL) {
			(void)json_object_set(config, "partial_rotary_factor", partial);
			(void)json_object_del(rope, "partial_rotary_factor");
		}
		if (strcmp(json_string_value(json_object_get(rope, "rope_type")), "default") != 0) {
			(void)json_object_set(config, "rope_scaling", rope);
		}
	}
	json_decref(rope);
}

static const char *const models[] = {"llama31", "smollm2", "mistral", "qwen2", "qwen3", "gemma", "gemma2", "gemma3", "phi3",
	"mixtral", "qwen2moe", "olmo2"};

#define EACH for (size_t i = 0; i < sizeof models / sizeof *models; i++)

static void all_logits(void **state)
{
	(void)state;
	EACH {
		check_logits(models[i], NULL);
	}
}

static void all_losses(void **state)
{
	(void)state;
	EACH {
		check_loss(models[i], NULL);
	}
}

static void all_statistics(void **state)
{
	(void)state;
	EACH {
		check_statistics(models[i], NULL);
	}
}

static void all_in_the_old_spelling(void **state)
{
	(void)state;
	EACH {
		check_logits(models[i], old_spelling);
		check_loss(models[i], old_spelling);
		check_statistics(models[i], old_spelling);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(all_logits),
		cmocka_unit_test(all_losses),
		cmocka_unit_test(all_statistics),
		cmocka_unit_test(all_in_the_old_spelling),
	};
	(void)test_shared("golden/README.md");
	return cmocka_run_group_tests(tests, NULL, NULL);
}
