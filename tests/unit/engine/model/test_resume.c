/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* A calibration that is broken off at any of its news goes on from there: the same numbers, no pass made twice, and what is
 * damaged is made again from what is not. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/file.h"
#include "engine/calibrate/calibrate.h"
#include "tests/unit/engine/model/synthetic.h"

#define LAYERS 4
#define CONFIG                                                                                                        \
	"{\"model_type\": \"llama\", \"num_hidden_layers\": 4, \"hidden_size\": 12, \"num_attention_heads\": 3,"      \
	" \"num_key_value_heads\": 1, \"head_dim\": 6, \"intermediate_size\": 20, \"vocab_size\": 37,"                \
	" \"max_position_embeddings\": 4096}"
#define SETS 2
#define NUMBERS 2048 /* of a layer and set at most */

/* What a job's journal keeps, and what the run gave. */
struct journal {
	struct synthetic *s;
	uint32_t needs;
	uint64_t memory, inside_memory;
	double pause;
	char kept[LAYERS + 1][CWB_DIGEST_HEX], gradient[LAYERS + 1][CWB_DIGEST_HEX];
	int done[LAYERS];
	double loss[SETS];
	float value[LAYERS * SETS][NUMBERS];
	uint32_t fed[LAYERS * SETS];
	uint32_t passes, heads;
	int was_done; /* an attempt found nothing to do: what is left goes with the scratch folder */
	int left; /* news until the run is broken off, -1: it is not */
};

static char folder[64];

static int news(struct journal *j, struct cwb_err *err)
{
	return j->left >= 0 && j->left-- == 0 ? cwb_err_set(err, CWP_ECANCELLED, "broken off") : 0;
}

static int module(void *arg, uint32_t layer, uint32_t set, uint32_t linear, const struct cwe_module_statistics *s,
	struct cwb_err *err)
{
	struct journal *j = arg;
	uint32_t at = layer * SETS + set;
	j->fed[at] = linear == 0 ? 0 : j->fed[at];
	uint64_t n = s->grad_sq != NULL ? s->rows * s->cols : s->cols;
	assert_true(j->fed[at] + n <= NUMBERS);
	for (uint64_t i = 0; i < n; i++) {
		j->value[at][j->fed[at]++] = s->grad_sq != NULL ? s->grad_sq[i] : (float)s->act_sq[i];
	}
	return news(j, err);
}

static int layer_done(void *arg, uint32_t layer, const char *digest, struct cwb_err *err)
{
	struct journal *j = arg;
	memcpy(j->gradient[layer], digest, strlen(digest) + 1);
	j->done[layer]++;
	return news(j, err);
}

static int boundary_done(void *arg, uint32_t layer, const char *digest, struct cwb_err *err)
{
	struct journal *j = arg;
	memcpy(j->kept[layer], digest, CWB_DIGEST_HEX);
	return news(j, err);
}

static int head_done(void *arg, const char *digest, struct cwb_err *err)
{
	struct journal *j = arg;
	memcpy(j->gradient[LAYERS], digest, CWB_DIGEST_HEX);
	j->heads++;
	return news(j, err);
}

/* One attempt, from what the journal has. */
static int attempt(struct journal *j)
{
	struct cwb_err err = {0};
	int gradients = (j->needs & CWP_STAT_GRAD_SQ) != 0;
	struct cwe_calibration c = {.model = &j->s->model, .corpus = &j->s->corpus, .needs = j->needs, .scratch = folder,
		.boundary_memory = j->memory, .inside_memory = j->inside_memory, .checkpoint = 1, .resume = LAYERS, .arg = j,
		.module = module, .layer_done = layer_done, .set_loss = j->loss, .boundary_done = boundary_done, .head_done = head_done,
		.kept = (const char (*)[CWB_DIGEST_HEX])j->kept};
	char kept[LAYERS + 1][CWB_DIGEST_HEX];
	while (gradients && c.resume > 0 && j->done[c.resume - 1]) {
		c.resume--;
	}
	if (c.resume > 0) {
		/* With pauses: from the lowest layer whose gradient was kept. */
		while (gradients && c.resume < LAYERS && j->gradient[c.resume][0] == '\0') {
			c.resume++;
		}
	}
	while (!gradients && c.first < LAYERS && j->done[c.first]) {
		c.first++;
	}
	if (c.resume == 0 || c.first == LAYERS) {
		j->was_done = 1;
		return 0;
	}
	c.resume_digest = gradients && j->gradient[c.resume][0] != '\0' ? j->gradient[c.resume] : NULL;
	memcpy(kept, j->kept, sizeof kept);
	for (uint32_t l = 0; l <= LAYERS; l++) {
		int wanted = gradients ? c.resume_digest == NULL || l < c.resume : l <= c.first && (j->pause > 0 || l == c.first);
		if (!wanted) {
			kept[l][0] = '\0';
		} else if (!gradients && l > 0) {
			memcpy(kept[l], j->gradient[l - 1], sizeof kept[l]);
		}
	}
	c.kept = (const char (*)[CWB_DIGEST_HEX])kept;
	c.checkpoint_pause = j->pause;
	for (int i = 0; i < SETS; i++) {
		j->loss[i] = c.resume_digest != NULL ? j->loss[i] : 0;
	}
	int r = cwe_calibrate_run(&c, &err);
	if (r != 0 && r != CWP_ECANCELLED) {
		fail_msg("%s", err.message);
	}
	j->passes += c.passes;
	return r;
}

static struct journal *start(struct synthetic *s, uint32_t needs, uint64_t memory)
{
	struct journal *j = calloc(1, sizeof *j);
	assert_non_null(j);
	j->s = s;
	j->needs = needs;
	j->memory = memory;
	j->left = -1;
	(void)snprintf(folder, sizeof folder, "/tmp/cwe-resume-XXXXXX");
	assert_non_null(mkdtemp(folder));
	return j;
}

/* No boundary is left, and the folder goes. */
static void finish(struct journal *j)
{
	char path[128];
	for (uint32_t l = 0; !j->was_done && l <= LAYERS; l++) {
		(void)snprintf(path, sizeof path, "%s/forward-%u", folder, l);
		assert_int_equal(access(path, F_OK), -1);
	}
	assert_int_equal(cwb_file_remove_tree(AT_FDCWD, folder, NULL), 0);
	free(j);
}

static void open_model(struct synthetic *s)
{
	synthetic_open(s, CONFIG);
	for (int i = 0; i < 3; i++) {
		synthetic_sample(s, 1, (const size_t[]){20, 0});
	}
	/* Twice the same samples: two sets, hence two pieces. */
	struct cwb_err err = {0};
	assert_int_equal(cwe_corpus_new((const struct cwe_sample_set[SETS]){s->set, s->set}, SETS, 0, &s->corpus, &err), 0);
	assert_int_equal(s->corpus.pieces, SETS);
}

/* No pass is made twice; but where news of a layer come while the next one is measured, the layer may have to be. */
static void check_passes(uint32_t passes, uint32_t full)
{
	if (getenv("CWP_TEST_REMOTE") != NULL) {
		assert_true(passes >= full);
	} else {
		assert_int_equal(passes, full);
	}
}

static void check(uint32_t needs, uint64_t memory)
{
	struct synthetic s;
	open_model(&s);
	struct journal *whole = start(&s, needs, memory);
	assert_int_equal(attempt(whole), 0);
	uint32_t full = whole->passes;
	assert_int_equal(full, needs & CWP_STAT_GRAD_SQ ? 2 * LAYERS + 1 : LAYERS);
	assert_int_equal(cwb_file_remove_tree(AT_FDCWD, folder, NULL), 0);
	int n = 0;
	for (;; n++) {
		struct journal *j = start(&s, needs, memory);
		j->left = n;
		j->inside_memory = UINT64_MAX;
		int r = attempt(j);
		j->left = -1;
		j->inside_memory = 0;
		r = r != 0 ? attempt(j) : 1;
		assert_memory_equal(j->value, whole->value, sizeof j->value);
		assert_memory_equal(j->loss, whole->loss, sizeof j->loss);
		check_passes(j->passes, full);
		finish(j);
		if (r == 1) {
			break; /* it came to its end */
		}
	}
	assert_true(n > 2 * LAYERS);
	/* Broken off again and again. */
	struct journal *j = start(&s, needs, memory);
	int r, attempts = 0;
	j->inside_memory = UINT64_MAX;
	do {
		j->left = 2 * 7;
		r = attempt(j);
		attempts++;
	} while (r != 0);
	assert_true(attempts > 2);
	assert_memory_equal(j->value, whole->value, sizeof j->value);
	check_passes(j->passes, full);
	assert_int_equal(j->heads, needs & CWP_STAT_GRAD_SQ ? 1 : 0);
	finish(j);
	free(whole);
	assert_int_equal(s.device.allocated, 0);
	synthetic_close(&s);
}

static void gradients_in_memory(void **state)
{
	(void)state;
	check(CWP_STAT_GRAD_SQ, UINT64_MAX);
}

static void gradients_on_disk(void **state)
{
	(void)state;
	check(CWP_STAT_GRAD_SQ, 0);
}

static void inputs_in_memory(void **state)
{
	(void)state;
	check(CWP_STAT_ACT_SQ, UINT64_MAX);
}

static void inputs_on_disk(void **state)
{
	(void)state;
	check(CWP_STAT_ACT_SQ, 0);
}

enum damage { GONE, SHORT, CHANGED };

static void damage(uint32_t layer, enum damage how)
{
	char path[128], byte;
	(void)snprintf(path, sizeof path, "%s/forward-%u", folder, layer);
	struct stat st;
	assert_int_equal(stat(path, &st), 0);
	int fd = open(path, O_RDWR);
	assert_int_equal(pread(fd, &byte, 1, st.st_size / 2), 1);
	byte ^= 1;
	assert_int_equal(how == GONE ? unlink(path) : how == SHORT ? ftruncate(fd, st.st_size - 4)
		: pwrite(fd, &byte, 1, st.st_size / 2) - 1, 0);
	(void)close(fd);
}

/* Hardly a checkpoint, and one now and then: broken off again and again, the same numbers. */
static void pauses(void **state)
{
	struct synthetic s;
	(void)state;
	open_model(&s);
	for (int c = 0; c < 8; c++) {
		uint32_t needs = c & 1 ? CWP_STAT_GRAD_SQ : CWP_STAT_ACT_SQ;
		struct journal *whole = start(&s, needs, c & 2 ? UINT64_MAX : 0);
		assert_int_equal(attempt(whole), 0);
		assert_int_equal(cwb_file_remove_tree(AT_FDCWD, folder, NULL), 0);
		for (int first = 3; first < 60; first += 8) {
			struct journal *j = start(&s, needs, whole->memory);
			int r, left = first;
			j->inside_memory = UINT64_MAX;
			do {
				j->pause = c & 4 ? 1e-3 : 1e9;
				j->left = left;
				left += 5; /* each attempt comes a little further */
				r = attempt(j);
			} while (r != 0);
			assert_memory_equal(j->value, whole->value, sizeof j->value);
			assert_memory_equal(j->loss, whole->loss, sizeof j->loss);
			finish(j);
		}
		free(whole);
	}
	assert_int_equal(s.device.allocated, 0);
	synthetic_close(&s);
}

/* Boundaries that are not what was kept: one in the middle costs its layer, the lowest ones more. */
static void damaged(void **state)
{
	struct synthetic s;
	(void)state;
	open_model(&s);
	for (int c = 0; c < 4; c++) {
		uint32_t needs = c & 1 ? CWP_STAT_GRAD_SQ : CWP_STAT_ACT_SQ;
		uint64_t memory = c & 2 ? UINT64_MAX : 0;
		struct journal *whole = start(&s, needs, memory);
		assert_int_equal(attempt(whole), 0);
		assert_int_equal(cwb_file_remove_tree(AT_FDCWD, folder, NULL), 0);
		for (int how = GONE; how <= CHANGED; how++) {
			struct journal *j = start(&s, needs, memory);
			/* Seven matrices a layer and set: in the second layer, with gradients in the second of the backward pass. */
			j->left = needs & CWP_STAT_GRAD_SQ ? LAYERS + 1 + SETS * 7 + 1 + 2 : SETS * 7 + 1 + 2;
			assert_int_equal(attempt(j), CWP_ECANCELLED);
			j->left = -1;
			damage(1, how);
			if (needs & CWP_STAT_GRAD_SQ) {
				damage(2, how);
			}
			assert_int_equal(attempt(j), 0);
			assert_memory_equal(j->value, whole->value, sizeof j->value);
			assert_memory_equal(j->loss, whole->loss, sizeof j->loss);
			/* What was lost was made again, nothing else. */
			assert_int_equal(j->passes, whole->passes + (needs & CWP_STAT_GRAD_SQ ? 2 : 1));
			finish(j);
		}
		free(whole);
	}
	synthetic_close(&s);
}

/* The last layer's inside waits while the layers below, whose boundaries are lost, are gone through once more. */
static void damaged_below_insides(void **state)
{
	struct synthetic s;
	(void)state;
	open_model(&s);
	struct journal *whole = start(&s, CWP_STAT_GRAD_SQ, UINT64_MAX);
	assert_int_equal(attempt(whole), 0);
	assert_int_equal(cwb_file_remove_tree(AT_FDCWD, folder, NULL), 0);
	struct journal *j = start(&s, CWP_STAT_GRAD_SQ, UINT64_MAX);
	j->left = LAYERS - 2; /* with the input of the last layer */
	assert_int_equal(attempt(j), CWP_ECANCELLED);
	j->left = -1;
	j->inside_memory = UINT64_MAX;
	damage(1, GONE);
	damage(2, GONE);
	assert_int_equal(attempt(j), 0);
	assert_memory_equal(j->value, whole->value, sizeof j->value);
	assert_memory_equal(j->loss, whole->loss, sizeof j->loss);
	assert_int_equal(j->passes, whole->passes + 2);
	finish(j);
	free(whole);
	assert_int_equal(s.device.allocated, 0);
	synthetic_close(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(gradients_in_memory), cmocka_unit_test(gradients_on_disk),
		cmocka_unit_test(inputs_in_memory), cmocka_unit_test(inputs_on_disk), cmocka_unit_test(damaged),
		cmocka_unit_test(damaged_below_insides), cmocka_unit_test(pauses)};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
