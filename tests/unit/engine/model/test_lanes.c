/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* A calibration on several devices gives what one gives, up to the order of additions, and the same bytes each time; whatever
 * fails in one of them ends all. */
#include <errno.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "engine/calibrate/calibrate.h"
#include "engine/calibrate/share.h"
#include "engine/model/companions.h"
#include "tests/unit/engine/model/remote.h"
#include "tests/unit/engine/model/synthetic.h"

#define SETS 2
#define MOST 3 /* devices */
#define PIECE 24

static const uint32_t GRADIENTS = CWP_STAT_GRAD_SUM | CWP_STAT_GRAD_ABS | CWP_STAT_GRAD_SQ;
static const uint32_t INPUTS = CWP_STAT_ACT_SUM | CWP_STAT_ACT_SQ | CWP_STAT_ACT_ABS | CWP_STAT_ACT_ABSMAX | CWP_STAT_GRAM |
	CWP_STAT_ACT_HISTOGRAM | CWP_STAT_ACT_RANGE;

struct several {
	struct synthetic s;
	struct cwe_registry *remote;
	struct cwe_host host[MOST]; /* of the others */
	struct cwe_device device[MOST];
	struct cwe_model model[MOST], *more[MOST];
	uint32_t n_more;
};

/* What a run told: numbers as doubles, one after another, and after each array the largest of its sizes. */
struct told {
	double *value, *scale;
	size_t count;
	double loss[SETS];
	uint32_t layers, modules;
	int fail_at; /* module that ends the run; -1: none */
	struct cwe_host *cancel;
	uint64_t done, total;
};

static void tell(struct told *t, double value, double scale)
{
	if ((t->count & (t->count + 1)) == 0) {
		t->value = realloc(t->value, (2 * t->count + 2) * sizeof *t->value);
		t->scale = realloc(t->scale, (2 * t->count + 2) * sizeof *t->scale);
	}
	assert_non_null(t->value);
	assert_non_null(t->scale);
	t->scale[t->count] = scale;
	t->value[t->count++] = value;
}

static void tell_floats(struct told *t, const float *x, uint64_t n, int exact)
{
	double most = 0;
	for (uint64_t i = 0; x != NULL && i < n; i++) {
		most = fabs((double)x[i]) > most ? fabs((double)x[i]) : most;
	}
	for (uint64_t i = 0; x != NULL && i < n; i++) {
		tell(t, (double)x[i], exact ? 0 : most);
	}
}

static void tell_doubles(struct told *t, const double *x, uint64_t n)
{
	double most = 0;
	for (uint64_t i = 0; x != NULL && i < n; i++) {
		most = fabs(x[i]) > most ? fabs(x[i]) : most;
	}
	for (uint64_t i = 0; x != NULL && i < n; i++) {
		tell(t, x[i], most);
	}
}

static int take_module(void *arg, uint32_t layer, uint32_t set, uint32_t linear, const struct cwe_module_statistics *s,
	struct cwb_err *err)
{
	struct told *t = arg;
	uint64_t n = s->rows * s->cols;
	if (t->fail_at == (int)t->modules++) {
		return cwb_err_set(err, CWP_ELIMIT, "module %d is too much", t->fail_at);
	}
	tell(t, layer, 0);
	tell(t, set, 0);
	tell(t, linear, 0);
	tell(t, (double)s->samples, 0);
	tell(t, (double)s->tokens, 0);
	tell_floats(t, s->weight, n, 1);
	tell_floats(t, s->grad_sum, n, 0);
	tell_floats(t, s->grad_abs, n, 0);
	tell_floats(t, s->grad_sq, n, 0);
	tell_doubles(t, s->act_sum, s->cols);
	tell_doubles(t, s->act_sq, s->cols);
	tell_doubles(t, s->act_abs, s->cols);
	tell_floats(t, s->act_absmax, s->cols, 1);
	tell_floats(t, s->gram, s->gram != NULL ? s->cols * s->cols : 0, 0);
	tell_floats(t, s->act_least, s->cols, 1);
	tell_floats(t, s->act_greatest, s->cols, 1);
	for (uint64_t i = 0; s->act_histogram != NULL && i < CWP_HISTOGRAM_BINS; i++) {
		tell(t, (double)s->act_histogram[i], 0);
	}
	return 0;
}

static int take_layer(void *arg, uint32_t layer, const char *digest, struct cwb_err *err)
{
	struct told *t = arg;
	(void)layer;
	(void)err;
	assert_string_equal(digest, "");
	t->layers++;
	return 0;
}

static void take_progress(void *arg, uint64_t done, uint64_t total)
{
	struct told *t = arg;
	assert_true(done >= t->done && done <= total);
	assert_true(t->total == 0 || t->total == total);
	t->done = done;
	t->total = total;
	if (t->cancel != NULL && done > total / 2) {
		atomic_store(&t->cancel->cancelled, 1);
	}
}

/* precision NULL: on the CPU. */
static void open_several(struct several *v, const char *config, const char *precision, uint32_t devices)
{
	struct cwb_err err = {0};
	struct cwe_corpus corpus;
	memset(v, 0, sizeof *v);
	assert_int_equal(precision != NULL ? setenv("CWP_TEST_REMOTE", precision, 1) : unsetenv("CWP_TEST_REMOTE"), 0);
	synthetic_open(&v->s, config);
	assert_int_equal(unsetenv("CWP_TEST_REMOTE"), 0);
	v->remote = precision != NULL ? remote_registry() : NULL;
	for (uint32_t k = 0; k + 1 < devices; k++) {
		cwe_host_init(&v->host[k], NULL, 0);
		if (precision != NULL) {
			remote_open(v->remote, &v->host[k], precision, &v->device[k]);
			v->device[k].boundary_room = k == 0 ? 0 : UINT64_MAX;
			(void)snprintf(v->device[k].uuid, sizeof v->device[k].uuid, "GPU-%u", k + 1);
		} else {
			assert_int_equal(cwe_device_open(v->s.registry, &v->host[k], &(struct cwe_device_choice){0}, &v->device[k], &err), 0);
		}
		if (cwe_model_open(&v->s.source, NULL, &v->device[k], &v->model[k], &err) != 0) {
			fail_msg("%s", err.message);
		}
		v->more[k] = &v->model[k];
	}
	v->n_more = devices - 1;
	for (size_t i = 0; i < 5; i++) {
		synthetic_sample(&v->s, 1.0f / (float)(i + 1), (const size_t[]){3 + 2 * i, 20 * (i % 3), 0});
	}
	/* Twice the same samples: two sets. */
	assert_int_equal(cwe_corpus_new((const struct cwe_sample_set[SETS]){v->s.set, v->s.set}, SETS, PIECE, &corpus, &err), 0);
	assert_true(corpus.pieces > 2 * SETS);
	v->s.corpus = corpus;
}

static void close_several(struct several *v)
{
	for (uint32_t k = 0; k < v->n_more; k++) {
		assert_int_equal(v->device[k].allocated, 0);
		cwe_device_close(&v->device[k]);
	}
	assert_int_equal(v->s.device.allocated, 0);
	synthetic_close(&v->s);
	cwe_registry_free(v->remote);
}

static struct cwe_calibration asked(struct several *v, uint32_t needs, struct told *t)
{
	memset(t, 0, sizeof *t);
	t->fail_at = -1;
	return (struct cwe_calibration){.model = &v->s.model, .corpus = &v->s.corpus, .needs = needs, .boundary_memory = UINT64_MAX,
		.resume = v->s.model.arch.layers, .arg = t, .module = take_module, .layer_done = take_layer, .progress = take_progress,
		.set_loss = t->loss, .more = v->more, .n_more = v->n_more};
}

static void forget(struct told *t)
{
	free(t->value);
	free(t->scale);
}

static struct told told_by(const char *config, const char *precision, uint32_t devices, uint32_t needs)
{
	struct several v;
	struct told t;
	struct cwb_err err = {0};
	open_several(&v, config, precision, devices);
	struct cwe_calibration c = asked(&v, needs, &t);
	if (cwe_calibrate_run(&c, &err) != 0) {
		fail_msg("%s", err.message);
	}
	assert_int_equal(t.done, t.total);
	assert_int_equal(t.layers, v.s.model.arch.layers);
	close_several(&v);
	return t;
}

static void assert_close(const struct told *one, const struct told *several)
{
	assert_int_equal(one->count, several->count);
	assert_int_equal(one->total, several->total);
	for (size_t i = 0; i < one->count; i++) {
		double difference = fabs(one->value[i] - several->value[i]);
		if (!(difference <= 2e-6 * one->scale[i])) {
			fail_msg("number %zu is %.9g, on several devices %.9g", i, one->value[i], several->value[i]);
		}
	}
	for (int s = 0; s < SETS; s++) {
		assert_true(fabs(one->loss[s] - several->loss[s]) <= 1e-12 * fabs(one->loss[s]));
	}
}

static void same_as_one(void **state)
{
	static const char *const precision[] = {NULL, "f32", "bf16"};
	(void)state;
	for (size_t i = 0; i < 3 * (SYNTHETIC_FAMILIES + 1); i++) {
		const char *config = i / 3 < SYNTHETIC_FAMILIES ? synthetic_family[i / 3] : SYNTHETIC_CONFIG;
		uint32_t needs = i % 2 == 0 ? GRADIENTS | INPUTS : INPUTS;
		struct told one = told_by(config, precision[i % 3], 1, needs), two = told_by(config, precision[i % 3], 2, needs);
		struct told three = told_by(config, precision[i % 3], 3, needs), again = told_by(config, precision[i % 3], 3, needs);
		assert_close(&one, &two);
		assert_close(&one, &three);
		assert_memory_equal(three.value, again.value, three.count * sizeof *three.value);
		assert_memory_equal(three.loss, again.loss, sizeof three.loss);
		forget(&one);
		forget(&two);
		forget(&three);
		forget(&again);
	}
}

/* Layers of an earlier run are not told again; the others are what they are. */
static void goes_on(void **state)
{
	struct several v;
	struct told t, whole = told_by(SYNTHETIC_CONFIG, "f32", 2, CWP_STAT_GRAD_SQ);
	struct cwb_err err = {0};
	(void)state;
	open_several(&v, SYNTHETIC_CONFIG, "f32", 2);
	struct cwe_calibration c = asked(&v, CWP_STAT_GRAD_SQ, &t);
	c.checkpoint = 1;
	c.resume = 1;
	c.resume_digest = "of a run on one device";
	t.loss[0] = t.loss[1] = 5; /* that run's */
	assert_int_equal(cwe_calibrate_run(&c, &err), 0);
	assert_int_equal(t.layers, 1);
	assert_int_equal(2 * t.count, whole.count);
	assert_memory_equal(t.value, whole.value + t.count, t.count * sizeof *t.value);
	assert_memory_equal(t.loss, whole.loss, sizeof t.loss);
	forget(&whole);
	forget(&t);
	close_several(&v);
}

static void ends(struct several *v, struct cwe_calibration *c, int code, const char *text)
{
	struct cwb_err err = {0};
	int r = cwe_calibrate_run(c, &err);
	if (r != code || strstr(err.message, text) == NULL) {
		fail_msg("%d: %s", r, err.message);
	}
	assert_null(v->s.device.stop);
	forget(c->arg);
}

/* From the callback, by the host, and of any device after any number of operations. */
static void failures(void **state)
{
	struct several v;
	struct told t;
	(void)state;
	open_several(&v, SYNTHETIC_CONFIG, "f32", 3);
	for (int i = 0; i < 30; i += 13) {
		struct cwe_calibration c = asked(&v, GRADIENTS, &t);
		t.fail_at = i;
		char text[64];
		(void)snprintf(text, sizeof text, "module %d is too much", i);
		ends(&v, &c, CWP_ELIMIT, i < 28 ? text : "");
	}
	struct cwe_calibration c = asked(&v, GRADIENTS, &t);
	t.cancel = &v.s.host;
	ends(&v, &c, CWP_ECANCELLED, "cancelled");
	atomic_store(&v.s.host.cancelled, 0);
	struct told trace;
	c = asked(&v, GRADIENTS, &trace);
	c.trace = (struct cwe_head_trace *)&t;
	ends(&v, &c, CWP_EVALUE, "nothing by sample");
	close_several(&v);
	uint32_t lost = 0;
	for (int at = 1; at < 2000; at = at * 3 + 1) {
		char number[16];
		struct cwb_err err = {0};
		open_several(&v, SYNTHETIC_CONFIG, "f32", 1);
		(void)snprintf(number, sizeof number, "%d", at);
		cwe_host_init(&v.host[0], NULL, 0);
		assert_int_equal(setenv("CWP_FAKE_LOST", number, 1), 0);
		remote_open(v.remote, &v.host[0], "f32", &v.device[0]);
		assert_int_equal(unsetenv("CWP_FAKE_LOST"), 0);
		(void)snprintf(v.device[0].uuid, sizeof v.device[0].uuid, "GPU-1");
		assert_int_equal(cwe_model_open(&v.s.source, NULL, &v.device[0], &v.model[0], &err), 0);
		v.more[0] = &v.model[0];
		v.n_more = 1;
		c = asked(&v, GRADIENTS, &t);
		int r = cwe_calibrate_run(&c, &err);
		if (r != 0) {
			lost++;
			assert_int_equal(r, -ENODEV);
			assert_non_null(strstr(err.message, "GPU-1: "));
			assert_non_null(strstr(err.message, "the device is lost"));
		}
		forget(&t);
		close_several(&v);
	}
	assert_true(lost > 4);
}

/* A part gets what no other gets; parts are as large as pieces allow; one device takes it where there is one piece. */
static void shares(void **state)
{
	struct several v;
	struct told t;
	struct cwb_err err = {0};
	(void)state;
	open_several(&v, SYNTHETIC_CONFIG, "f32", 2);
	const struct cwe_corpus *c = &v.s.corpus;
	for (uint32_t n = 1; n <= c->pieces; n++) {
		uint64_t sum = 0, most = 0, least = UINT64_MAX;
		uint8_t *seen = calloc(c->tokens, 1);
		for (uint32_t k = 0; k < n; k++) {
			struct cwe_corpus share;
			assert_int_equal(cwe_share_new(c, n, k, &share, &err), 0);
			for (size_t i = 0; i < share.pieces; i++) {
				const struct cwe_piece *p = &share.piece[i], *q = c->piece;
				assert_true(i == 0 ? p->at == 0 : p->at == p[-1].at + p[-1].tokens && p->set >= p[-1].set);
				while (q->sample_start != p->sample_start) {
					q++;
				}
				assert_int_equal(seen[q->at]++, 0);
				assert_memory_equal(share.id + p->at, c->id + q->at, p->tokens * sizeof *c->id);
				assert_memory_equal(share.weight + p->at, c->weight + q->at, p->tokens * sizeof *c->weight);
				assert_memory_equal(share.position + p->at, c->position + q->at, p->tokens * sizeof *c->position);
			}
			assert_true(share.pieces > 0);
			sum += share.tokens;
			most = share.tokens > most ? share.tokens : most;
			least = share.tokens < least ? share.tokens : least;
			cwe_share_free(&share);
		}
		assert_int_equal(sum, c->tokens);
		assert_int_equal(most, cwe_share_tokens(c, n));
		assert_true(most - least <= c->widest);
		free(seen);
	}
	cwe_corpus_free(&v.s.corpus);
	assert_int_equal(cwe_corpus_new(&v.s.set, 1, UINT64_MAX, &v.s.corpus, &err), 0);
	assert_int_equal(c->pieces, 1);
	struct cwe_calibration one = asked(&v, GRADIENTS, &t);
	assert_int_equal(cwe_calibrate_run(&one, &err), 0);
	assert_int_equal(v.device[0].peak, 0);
	forget(&t);
	close_several(&v);
}

/* The other devices in their order; as many as there are, and they compute. */
static void companions(void **state)
{
	struct several v;
	struct told t, whole = told_by(SYNTHETIC_CONFIG, "f32", 3, GRADIENTS);
	struct cwe_companions c;
	struct cwb_err err = {0};
	struct cwe_device cpu;
	struct cwp_backend_device found[3];
	(void)state;
	assert_int_equal(setenv("CWP_FAKE_DEVICES", "GPU-a,GPU-b,GPU-c", 1), 0);
	open_several(&v, SYNTHETIC_CONFIG, "f32", 1);
	(void)snprintf(v.s.device.uuid, sizeof v.s.device.uuid, "GPU-b");
	v.s.device.precision = CWJ_PRECISION_F32;
	assert_int_equal(cwe_companions_find(&v.s.device, NULL, 3, found, &err), CWP_EMISSING);
	assert_non_null(strstr(err.message, "4 devices of backend cuda are asked for, but there are 3"));
	/* Of a list: in its order, each once, by how it begins, never the one that is open. */
	assert_int_equal(cwe_companions_find(&v.s.device, "GPU-b,GPU-c,gpu-A,GPU-c", 2, found, NULL), 0);
	assert_string_equal(found[0].uuid, "GPU-c");
	assert_string_equal(found[1].uuid, "GPU-a");
	err = (struct cwb_err){0};
	assert_int_equal(cwe_companions_find(&v.s.device, "GPU-c,GPU-b,GPU-c,,GPU-x", 2, found, &err), CWP_EMISSING);
	assert_non_null(strstr(err.message, "3 devices of backend cuda are asked for, but of those that were given there are 2"));
	assert_int_equal(cwe_companions_find(&v.s.device, NULL, 2, found, NULL), 0);
	assert_true(found[0].total > 0);
	assert_int_equal(cwe_companions_open(v.remote, &v.s.model, found, 2, &c, NULL), 0);
	assert_string_equal(c.device[0].uuid, "GPU-a");
	assert_string_equal(c.device[1].uuid, "GPU-c");
	struct cwe_calibration calibration = asked(&v, GRADIENTS, &t);
	calibration.more = c.list;
	calibration.n_more = c.n;
	assert_int_equal(cwe_calibrate_run(&calibration, NULL), 0);
	assert_int_equal(t.count, whole.count);
	assert_memory_equal(t.value, whole.value, t.count * sizeof *t.value);
	assert_true(c.device[1].peak > 0);
	cwe_companions_close(&c);
	cwe_companions_close(&c); /* also where there are none */
	/* The CPU is one device. */
	cpu = v.s.device;
	err = (struct cwb_err){0};
	assert_int_equal(cwe_device_open(v.s.registry, &v.s.host, &(struct cwe_device_choice){0}, &v.s.device, &err), 0);
	assert_int_equal(cwe_companions_find(&v.s.device, NULL, 1, found, &err), CWP_EMISSING);
	assert_non_null(strstr(err.message, "2 devices of backend cpu are asked for, but there are 1"));
	cwe_device_close(&v.s.device);
	v.s.device = cpu;
	assert_int_equal(unsetenv("CWP_FAKE_DEVICES"), 0);
	forget(&whole);
	forget(&t);
	close_several(&v);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(same_as_one),
		cmocka_unit_test(goes_on),
		cmocka_unit_test(failures),
		cmocka_unit_test(shares),
		cmocka_unit_test(companions),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
