/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* On a backend with memory of its own the engine gives the bytes that it gives on the CPU, wherever boundaries lie. */
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/file.h"
#include "engine/calibrate/kept.h"
#include "engine/calibrate/loglik.h"
#include "engine/calibrate/parameters.h"
#include "engine/format/dtype.h"
#include "tests/unit/engine/model/numbers.h"
#include "tests/unit/engine/model/synthetic.h"

static int keep_parameter(void *arg, const char *name, uint64_t rows, uint64_t cols, const float *value, struct cwb_err *err)
{
	(void)err;
	numbers_keep(arg, name, strlen(name));
	numbers_keep(arg, value, rows * (cols > 0 ? cols : 1) * sizeof *value);
	return 0;
}

static void assert_same(const struct numbers *a, const struct numbers *b)
{
	assert_int_equal(a->count, b->count);
	assert_memory_equal(a->data, b->data, a->count);
}

/* precision NULL: on the CPU. */
static void open_on(struct synthetic *s, const char *config, const char *precision)
{
	assert_int_equal(precision != NULL ? setenv("CWP_TEST_REMOTE", precision, 1) : unsetenv("CWP_TEST_REMOTE"), 0);
	synthetic_open(s, config);
	assert_int_equal(unsetenv("CWP_TEST_REMOTE"), 0);
	for (size_t i = 0; i < 5; i++) {
		synthetic_sample(s, 1.0f / (float)(i + 1), (const size_t[]){9 + i, 21 * (i % 3), 0});
	}
	struct cwb_err err = {0};
	assert_int_equal(cwe_corpus_new(&s->set, 1, 40, &s->corpus, &err), 0);
	assert_true(s->corpus.pieces > 2);
}

static int keep_layer(void *arg, uint32_t layer, const char *digest, struct cwb_err *err)
{
	(void)err, (void)digest;
	numbers_keep(arg, &layer, sizeof layer);
	return 0;
}

/* As jobs calibrate: two sets, within the bounds that are said before. */
static void calibrate(struct numbers *n, struct synthetic *s, uint32_t needs, uint64_t room, const char *scratch)
{
	struct cwb_err err = {0};
	struct cwe_corpus corpus;
	double loss[2] = {0, 0};
	struct cwe_calibration_bounds bounds;
	assert_int_equal(cwe_corpus_new((const struct cwe_sample_set[]){s->set, s->set}, 2, 50, &corpus, &err), 0);
	struct cwe_calibration c = {.model = &s->model, .corpus = &corpus, .needs = needs, .scratch = scratch,
		.boundary_memory = scratch != NULL ? 0 : UINT64_MAX, .resume = s->model.arch.layers, .arg = n, .module = numbers_keep_module,
		.layer_done = keep_layer, .set_loss = loss};
	cwe_calibration_bounds(&s->model, corpus.tokens, corpus.widest, corpus.longest, needs, &bounds);
	s->device.boundary_room = room < bounds.boundaries ? room : bounds.boundaries;
	uint64_t most = bounds.device + (cwe_device_remote(&s->device) ? s->device.boundary_room : 0);
	s->device.peak = 0;
	if (cwe_calibrate_run(&c, &err) != 0) {
		fail_msg("%s", err.message);
	}
	assert_true(s->device.peak > 0 && s->device.peak <= most);
	numbers_keep(n, loss, sizeof loss);
	cwe_corpus_free(&corpus);
}

/* Everything that is measured. room: of boundaries on the device; scratch: NULL, or a folder that takes them instead of memory. */
static struct numbers measure(const char *config, const char *precision, uint64_t room, const char *scratch)
{
	struct numbers n = {0};
	struct synthetic s;
	struct cwb_err err = {0};
	open_on(&s, config, precision);
	s.device.boundary_room = room;
	if (cwe_parameters_run(&s.model, &s.corpus, scratch, keep_parameter, &n, &err) != 0) {
		fail_msg("%s", err.message);
	}
	calibrate(&n, &s, CWP_STAT_GRAD_SQ | CWP_STAT_GRAD_ABS | CWP_STAT_GRAD_SUM | CWP_STAT_ACT_SUM | CWP_STAT_ACT_ABSMAX, room, scratch);
	calibrate(&n, &s, CWP_STAT_GRAM | CWP_STAT_ACT_SQ | CWP_STAT_ACT_ABS | CWP_STAT_ACT_HISTOGRAM | CWP_STAT_ACT_RANGE, room, scratch);
	calibrate(&n, &s, 0, room, scratch);
	s.device.boundary_room = room;
	struct cwe_token_score score = {.nll = calloc(s.corpus.tokens, sizeof(float)), .greedy = calloc(s.corpus.tokens, 1)};
	struct cwe_forward_options o = {.memory = scratch != NULL ? 0 : UINT64_MAX, .scratch = scratch};
	if (cwe_loglik_run(&s.model, &s.corpus, &o, &score, &err) != 0) {
		fail_msg("%s", err.message);
	}
	numbers_keep(&n, score.nll, s.corpus.tokens * sizeof *score.nll);
	numbers_keep(&n, score.greedy, s.corpus.tokens);
	free(score.nll);
	free(score.greedy);
	assert_int_equal(s.device.allocated, 0);
	synthetic_close(&s);
	return n;
}

static void same_as_the_cpu(void **state)
{
	(void)state;
	for (size_t f = 0; f < SYNTHETIC_FAMILIES; f++) {
		struct numbers cpu = measure(synthetic_family[f], NULL, 0, NULL);
		const uint64_t room[] = {20000, UINT64_MAX, 0};
		/* Where boundaries lie is no affair of a family. */
		for (size_t i = 0; i < (f == 0 ? sizeof room / sizeof *room : 1); i++) {
			struct numbers remote = measure(synthetic_family[f], "f32", room[i], i == 0 ? NULL : "/tmp");
			assert_same(&cpu, &remote);
			free(remote.data);
		}
		free(cpu.data);
	}
}

#define SLOTS 3
#define PIECE 100
#define FLOATS 431

static float value(uint32_t slot, uint64_t i, uint32_t round)
{
	return ((float)(cwe_random(slot + 1, round, i) % 200001) - 100000) / 300;
}

/* Two rounds of pieces through a boundary: what comes back is what was put, as the boundary keeps it. */
static void check_boundary(struct synthetic *s, uint32_t dtype, uint64_t room, uint64_t budget, int kept)
{
	struct cwe_boundary_size size = {.slots = SLOTS, .floats = FLOATS, .piece = PIECE, .dtype = dtype};
	struct cwe_boundary b;
	struct cwb_err err = {0};
	float *d_x = NULL, x[FLOATS], want[FLOATS];
	char digest[CWB_DIGEST_HEX], folder[] = "/tmp/cwe-boundary-XXXXXX";
	assert_non_null(mkdtemp(folder));
	s->device.boundary_room = room;
	assert_int_equal(cwe_device_floats(&s->device, PIECE, &d_x, &err), 0);
	assert_int_equal(cwe_boundary_new(&s->device, &size, budget, folder, &b, &err), 0);
	assert_int_equal(kept ? cwe_kept_new(&b, folder, &err) : 0, 0);
	for (uint32_t round = 0; round < 2; round++) {
		for (uint32_t slot = 0; slot < SLOTS; slot++) {
			assert_int_equal(cwe_kept_begin(&b, slot, slot, 1, &err), 0);
			for (uint64_t at = 0, n; at < FLOATS; at += n) {
				n = FLOATS - at < PIECE ? FLOATS - at : PIECE;
				for (uint64_t i = 0; i < n; i++) {
					x[i] = value(slot, at + i, round);
				}
				assert_int_equal(s->device.ops->upload(s->device.b, d_x, x, n * sizeof *x), 0);
				assert_int_equal(cwe_boundary_put(&b, slot, at, d_x, n, &err), 0);
			}
			assert_int_equal(kept ? cwe_kept_end(&b, slot, digest, &err) : 0, 0);
		}
		for (uint32_t slot = 0; slot < SLOTS; slot++) {
			for (uint64_t i = 0; i < FLOATS; i++) {
				want[i] = value(slot, i, round);
			}
			if (dtype == CWP_BF16) {
				cwe_bf16_round(want, FLOATS);
			}
			assert_int_equal(cwe_boundary_read(&b, slot, 0, x, FLOATS, &err), 0);
			assert_memory_equal(x, want, sizeof x);
			for (uint64_t at = 0, n; at < FLOATS; at += n) {
				n = FLOATS - at < PIECE ? FLOATS - at : PIECE;
				uint64_t next = FLOATS - at - n < PIECE ? FLOATS - at - n : PIECE;
				memset(x, 0, sizeof x);
				assert_int_equal(cwe_boundary_get(&b, slot, at, d_x, n, &err), 0);
				/* Sometimes what is expected is not what is wanted. */
				assert_int_equal(cwe_boundary_expect(&b, slot, slot == 1 ? 0 : at + n, next, &err), 0);
				assert_int_equal(s->device.ops->download(s->device.b, x, d_x, n * sizeof *x), 0);
				assert_memory_equal(x, want + at, n * sizeof *x);
			}
		}
	}
	cwe_boundary_free(&b);
	cwe_device_free(&s->device, d_x, PIECE * sizeof *d_x);
	assert_int_equal(s->device.boundary_room, room);
	assert_int_equal(s->device.allocated, 0);
	assert_int_equal(cwb_file_remove_tree(AT_FDCWD, folder, NULL), 0);
}

static void boundaries(void **state)
{
	const uint64_t room[] = {UINT64_MAX, FLOATS * sizeof(float) + 10, 0};
	(void)state;
	for (int bf16 = 0; bf16 < 2; bf16++) {
		struct synthetic s;
		open_on(&s, SYNTHETIC_CONFIG, bf16 ? "bf16" : "f32");
		assert_int_equal(cwe_device_boundary_dtype(&s.device), bf16 ? CWP_BF16 : CWP_F32);
		for (int i = 0; i < 12; i++) {
			check_boundary(&s, bf16 ? CWP_BF16 : CWP_F32, room[i % 3], i / 3 % 2 == 0 ? UINT64_MAX : 0, i >= 6);
		}
		synthetic_close(&s);
	}
}

/* In bf16 every result is the same wherever boundaries lie, and another than in f32. */
static void same_wherever_boundaries_lie(void **state)
{
	(void)state;
	struct numbers device = measure(SYNTHETIC_CONFIG, "bf16", UINT64_MAX, NULL), exact = measure(SYNTHETIC_CONFIG, NULL, 0, NULL);
	struct numbers host = measure(SYNTHETIC_CONFIG, "bf16", 0, NULL), some = measure(SYNTHETIC_CONFIG, "bf16", 20000, "/tmp");
	assert_same(&device, &host);
	assert_same(&device, &some);
	assert_int_equal(device.count, exact.count);
	assert_memory_not_equal(device.data, exact.data, exact.count);
	free(device.data);
	free(exact.data);
	free(host.data);
	free(some.data);
}

/* What comes to pass with a model that was changed: the error, the same on both. */
static void fails(const char *tensor, const char *memory, int code, const char *text)
{
	for (int remote = 0; remote < 2; remote++) {
		struct numbers n = {0};
		struct synthetic s;
		struct cwb_err err = {0};
		if (memory != NULL && !remote) {
			continue;
		}
		assert_int_equal(memory != NULL ? setenv("CWP_FAKE_MEMORY", memory, 1) : 0, 0);
		open_on(&s, SYNTHETIC_CONFIG, remote ? "f32" : NULL);
		if (tensor != NULL) {
			const uint32_t nan = 0x7fc00000;
			memcpy(synthetic_tensor(&s, tensor, NULL) + 3, &nan, sizeof nan);
		}
		int r = cwe_parameters_run(&s.model, &s.corpus, NULL, keep_parameter, &n, &err);
		if (r != code || strstr(err.message, text) == NULL) {
			fail_msg("%d: %s", r, err.message);
		}
		assert_int_equal(s.device.allocated, 0);
		synthetic_close(&s);
		free(n.data);
		assert_int_equal(unsetenv("CWP_FAKE_MEMORY"), 0);
	}
}

static void bad_weights(void **state)
{
	(void)state;
	fails("model.layers.0.mlp.up_proj.weight", NULL, CWP_ENUMBER, "model.layers.0.mlp.up_proj.weight holds nan at element 3");
	fails("model.layers.1.self_attn.k_proj.bias", NULL, CWP_ENUMBER, "model.layers.1.self_attn.k_proj.bias holds nan at element 3");
	fails("model.norm.weight", NULL, CWP_ENUMBER, "model.norm.weight holds nan at element 3");
	fails("model.embed_tokens.weight", NULL, CWP_ENUMBER, "model.embed_tokens.weight holds nan at element 3");
}

/* Few and many tokens, scaled and not; a bad id and a bad row are refused, whoever looks them up. */
static void embeddings(void **state)
{
	(void)state;
	const char *const config[] = {SYNTHETIC_CONFIG, synthetic_family[1]};
	enum { TOKENS = 3000, HIDDEN = 12 };
	static const uint64_t counts[] = {1, 200, 257, TOKENS};
	for (size_t i = 0; i < 8; i++) {
		struct synthetic s[2];
		float *x[2] = {calloc(TOKENS * HIDDEN, sizeof(float)), calloc(TOKENS * HIDDEN, sizeof(float))}, *d_x;
		uint32_t id[TOKENS];
		uint64_t n = counts[i / 2];
		assert_true(x[0] != NULL && x[1] != NULL);
		for (int remote = 0; remote < 2; remote++) {
			struct cwb_err err = {0};
			open_on(&s[remote], config[i % 2], remote ? "f32" : NULL);
			struct cwe_model *m = &s[remote].model;
			assert_int_equal(m->arch.hidden, HIDDEN);
			for (uint64_t t = 0; t < n; t++) {
				id[t] = (uint32_t)((t * 7 + t / 5) % m->arch.vocabulary);
			}
			assert_int_equal(cwe_device_floats(m->device, n * HIDDEN, &d_x, &err), 0);
			assert_int_equal(cwe_model_embed(m, id, n, d_x, &err), 0);
			assert_int_equal(m->device->ops->download(m->device->b, x[remote], d_x, n * HIDDEN * sizeof(float)), 0);
			id[n - 1] = m->arch.vocabulary;
			assert_int_equal(cwe_model_embed(m, id, n, d_x, &err), CWP_EVALUE);
			id[n - 1] = 5;
			synthetic_tensor(&s[remote], "model.embed_tokens.weight", NULL)[5 * HIDDEN + 1] = INFINITY;
			err = (struct cwb_err){0};
			assert_int_equal(cwe_model_embed(m, id, n, d_x, &err), CWP_ENUMBER);
			assert_non_null(strstr(err.message, "model.embed_tokens.weight holds inf at element 61"));
			cwe_device_free(m->device, d_x, n * HIDDEN * sizeof(float));
			synthetic_close(&s[remote]);
		}
		assert_memory_equal(x[0], x[1], n * HIDDEN * sizeof(float));
		assert_true(x[0][0] != 0 && x[0][n * HIDDEN - 1] != 0);
		free(x[0]);
		free(x[1]);
	}
}

static void small_device(void **state)
{
	(void)state;
	fails(NULL, "300000", -ENOMEM, "checking backend f32: no memory for ");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(same_as_the_cpu),
		cmocka_unit_test(boundaries),
		cmocka_unit_test(same_wherever_boundaries_lie),
		cmocka_unit_test(bad_weights),
		cmocka_unit_test(embeddings),
		cmocka_unit_test(small_device),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
