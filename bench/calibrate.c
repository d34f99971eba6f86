/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* The engine's calibration alone, without a scorer: statistics of random tokens, timed.
 *
 *     calibrate-run MODEL [--backend cpu|cuda] [--precision f32|bf16] [--needs grad_sq,grad_sum,grad_abs,act_sq]
 *         [--samples 128] [--length 512] [--threads N] [--gpu-memory BYTES] [--gpus N] [--rounds 1] [--seed N] [--sums]
 *         [--values FILE] [--plan] [--trace MILLISECONDS]
 *
 * MODEL: a folder as bench/make_model.py writes it. Each round prints one line of JSON: seconds of the whole run and of its
 * parts, tokens a second, FLOP a token (products alone, as they are needed: forward, gradients at inputs and of weights, and
 * what has to be computed again for the backward pass, all layers and the head) and FLOP a second, memory of the device.
 * --gpu-memory is a limit: what does not fit is refused, boundaries that do not fit lie in the host's memory. --sums adds the sum of each statistic by matrix, for comparing runs. --gpus: the samples
 * are divided among so many devices; the limit is of each. --values writes all statistics of the last round, f32 one after another.
 * --plan says what a run would take of the device and runs nothing: a model of holes is enough.
 * --trace: of each round, after its line, where the host's time goes on a backend with memory of its own: sums, and each call that takes
 * so long. bench/fisher-gpu and bench/gpus drive it. */
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#include "bench/device.h"
#include "bench/trace.h"
#include "engine/calibrate/calibrate.h"
#include "engine/calibrate/corpus.h"
#include "engine/calibrate/share.h"
#include "engine/model/companions.h"

struct options {
	const char *model, *backend, *precision, *values;
	uint32_t needs, threads, rounds, gpus;
	uint64_t samples, length, seed, memory;
	int sums, plan, trace;
	double trace_least; /* seconds */
};

struct bench {
	struct options o;
	struct bench_device on;
	struct cwe_source *source;
	struct cwe_model model;
	struct cwe_companions others; /* devices beside the first one */
	FILE *values;
	struct cwe_sample_set set;
	struct cwe_corpus corpus;
	uint64_t total, before, least; /* of the device's memory: all, free before anything was taken, least free since */
	double begin, forward_end;
	double layer_end[CWE_LAYERS_MAX];
	uint64_t forward_work;         /* of the progress that is the forward pass */
	int printed;                   /* sums */
};

static const struct {
	const char *name;
	uint32_t bit;
} statistics[] = {{"grad_sum", CWP_STAT_GRAD_SUM}, {"grad_abs", CWP_STAT_GRAD_ABS}, {"grad_sq", CWP_STAT_GRAD_SQ}, {"act_sq", CWP_STAT_ACT_SQ}};

static const uint32_t GRADIENTS = CWP_STAT_GRAD_SUM | CWP_STAT_GRAD_ABS | CWP_STAT_GRAD_SQ;

static double now(void)
{
	struct timespec t;
	(void)clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static int parse_needs(char *text, uint32_t *ret)
{
	char *save = NULL;
	*ret = 0;
	for (char *word = strtok_r(text, ",", &save); word != NULL; word = strtok_r(NULL, ",", &save)) {
		uint32_t bit = 0;
		for (size_t i = 0; i < sizeof statistics / sizeof *statistics; i++) {
			bit = strcmp(word, statistics[i].name) == 0 ? statistics[i].bit : bit;
		}
		if (bit == 0) {
			return -1;
		}
		*ret |= bit;
	}
	return *ret != 0 ? 0 : -1;
}

static int parse(int argc, char **argv, struct options *o)
{
	static const struct option names[] = {{"backend", 1, NULL, 'b'}, {"precision", 1, NULL, 'p'}, {"needs", 1, NULL, 'n'},
		{"samples", 1, NULL, 's'}, {"length", 1, NULL, 'l'}, {"threads", 1, NULL, 't'}, {"gpu-memory", 1, NULL, 'm'},
		{"rounds", 1, NULL, 'r'}, {"seed", 1, NULL, 'S'}, {"sums", 0, NULL, 'u'}, {"gpus", 1, NULL, 'g'}, {"values", 1, NULL, 'v'},
		{"plan", 0, NULL, 'P'}, {"trace", 1, NULL, 'T'}, {NULL, 0, NULL, 0}};
	*o = (struct options){.backend = "cpu", .precision = "f32", .needs = CWP_STAT_GRAD_SQ, 
		.rounds = 1, .gpus = 1, .samples = 128, .length = 512};
	for (int c; (c = getopt_long(argc, argv, "", names, NULL)) != -1;) {
		const char *text = optarg != NULL ? optarg : "";
		uint64_t n = strtoull(text, NULL, 10);
		switch (c) {
		case 'b': o->backend = text; break;
		case 'p': o->precision = text; break;
		case 's': o->samples = n; break;
		case 'l': o->length = n; break;
		case 't': o->threads = (uint32_t)n; break;
		case 'm': o->memory = n; break;
		case 'r': o->rounds = (uint32_t)n; break;
		case 'S': o->seed = n; break;
		case 'u': o->sums = 1; break;
		case 'P': o->plan = 1; break;
		case 'g': o->gpus = (uint32_t)n; break;
		case 'v': o->values = text; break;
		case 'T':
			o->trace = 1;
			o->trace_least = strtod(text, NULL) * 1e-3;
			break;
		case 'n':
			if (parse_needs(optarg, &o->needs) == 0) {
				break;
			}
			return -1;
		default: return -1;
		}
	}
	o->model = argv[optind];
	return optind + 1 == argc && o->samples > 0 && o->length > 1 && (o->rounds > 0 || o->values != NULL) && o->gpus > 0 && o->gpus <= CWE_LANES_MAX ? 0 : -1;
}

/* Samples of one sequence each, every prediction of it with the same weight. */
static int make_samples(struct bench *b, struct cwb_err *err)
{
	const struct options *o = &b->o;
	b->set = (struct cwe_sample_set){.sample = calloc(o->samples, sizeof *b->set.sample), .count = o->samples, .tokens = o->samples * o->length};
	if (b->set.sample == NULL) {
		return cwb_err_set(err, -1, "no memory for samples");
	}
	for (uint64_t i = 0; i < o->samples; i++) {
		struct cwe_sequence *s = calloc(1, sizeof *s);
		b->set.sample[i] = (struct cwe_sample){.sequence = s, .count = 1};
		if (s == NULL || (s->id = calloc(o->length, sizeof *s->id)) == NULL || (s->weight = calloc(o->length, sizeof *s->weight)) == NULL) {
			return cwb_err_set(err, -1, "no memory for samples");
		}
		s->count = o->length;
		for (uint64_t t = 0; t < o->length; t++) {
			s->id[t] = (uint32_t)(cwe_random(o->seed, i, t) % b->model.arch.vocabulary);
			s->weight[t] = t > 0 ? 1.0F / (float)(o->length - 1) : 0;
		}
	}
	return cwe_corpus_new(&b->set, 1, cwe_device_remote(&b->on.device) ? 4096 : 0, &b->corpus, err);
}

static int open_device(struct bench *b, struct cwb_err *err)
{
	struct cwe_device *d = &b->on.device;
	double from = now();
	int r = bench_device_open(&b->on, b->o.backend, b->o.precision, err);
	if (r == 0 && b->o.trace) {
		d->ops = trace_wrap(d->ops);
		trace_begin(b->o.trace_least);
		(void)printf("the device was opened in %.3f s\n", now() - from);
	}
	r = r == 0 ? cwe_device_check(d, "memory", d->ops->memory(d->b, &b->total, &b->before), err) : r;
	b->least = b->before;
	return r;
}

/* Memory as a job's plan has it: what the calibration needs at most and what the backend takes for itself, and boundaries in
 * what is left of the limit. tokens: of this device's part. */
struct device_plan {
	struct cwp_backend_use use;
	struct cwe_calibration_bounds bounds;
	uint64_t own, least, room, limit;
};

static int plan_one(struct bench *b, const struct cwe_model *model, uint64_t tokens, struct device_plan *ret, struct cwb_err *err)
{
	struct cwe_device *d = model->device;
	struct device_plan p = {.limit = b->o.memory > 0 ? b->o.memory : b->before / 10 * 9};
	cwe_workspace_use(model, b->corpus.widest, &p.use);
	p.use.handles = b->o.gpus;
	cwe_calibration_bounds(model, tokens, b->corpus.widest, b->corpus.longest, b->o.needs, &p.bounds);
	p.own = d->ops->overhead(d->b, &p.use);
	p.least = p.bounds.device + p.own;
	if (p.least > p.limit) {
		return cwb_err_set(err, CWP_ELIMIT, "the plan is %" PRIu64 " MB, more than the limit of %" PRIu64 " MB", p.least / 1000000, p.limit / 1000000);
	}
	p.room = p.bounds.boundaries < p.limit - p.least ? p.bounds.boundaries : p.limit - p.least;
	*ret = p;
	return 0;
}

/* Taken at once, so that more is never taken. */
static int reserve_one(struct bench *b, struct cwe_model *model, uint64_t tokens, struct cwb_err *err)
{
	struct cwe_device *d = model->device;
	struct device_plan p;
	int r = plan_one(b, model, tokens, &p, err);
	if (r != 0) {
		return r;
	}
	d->boundary_room = p.room;
	(void)fprintf(stderr, "plan: %" PRIu64 " MB, of which %" PRIu64 " MB are the backend's own; boundaries %" PRIu64 " of %" PRIu64 " MB\n", p.least / 1000000,
		p.own / 1000000, p.room / 1000000, p.bounds.boundaries / 1000000);
	r = cwe_device_enter(d, err);
	return r == 0 ? cwe_device_check(d, "reserve", d->ops->reserve(d->b, p.least + p.room, &p.use), err) : r;
}

/* --plan: what one device would hold, and the host beside. */
static int print_plan(struct bench *b, struct cwb_err *err)
{
	struct device_plan p;
	int r = plan_one(b, &b->model, cwe_share_tokens(&b->corpus, b->o.gpus), &p, err);
	if (r == 0) {
		(void)printf("{\"backend\": \"%s\", \"layers\": %u, \"tokens\": %" PRIu64 ", \"limit\": %" PRIu64 ", \"device\": %" PRIu64
			", \"own\": %" PRIu64 ", \"boundaries\": %" PRIu64 ", \"boundaries_there\": %" PRIu64 ", \"host\": %" PRIu64 "}\n",
			b->on.device.ops->describe(b->on.device.b), b->model.arch.layers, b->corpus.tokens, p.limit, p.bounds.device, p.own,
			p.bounds.boundaries, p.room, p.bounds.host);
	}
	return r;
}

static int reserve(struct bench *b, struct cwb_err *err)
{
	int r = 0;
	for (uint32_t k = 0; r == 0 && cwe_device_remote(&b->on.device) && k <= b->others.n; k++) {
		r = reserve_one(b, k == b->others.n ? &b->model : &b->others.model[k], cwe_share_tokens(&b->corpus, b->o.gpus), err);
	}
	return r;
}

static int open_all(struct bench *b, struct cwb_err *err)
{
	int r = bench_device_prepare(&b->on, b->o.threads, err);
	r = r == 0 ? open_device(b, err) : r;
	r = r == 0 ? cwe_source_open(b->o.model, 0, &b->source, err) : r;
	r = r == 0 ? cwe_model_open(b->source, NULL, &b->on.device, &b->model, err) : r;
	r = r == 0 ? make_samples(b, err) : r;
	if (r == 0 && b->o.gpus > 1) {
		struct cwp_backend_device found[CWE_LANES_MAX];
		r = cwe_companions_find(&b->on.device, NULL, b->o.gpus - 1, found, err);
		r = r == 0 ? cwe_companions_open(b->on.registry, &b->model, found, b->o.gpus - 1, &b->others, err) : r;
	}
	return r == 0 && !b->o.plan ? reserve(b, err) : r;
}

static void close_all(struct bench *b)
{
	for (size_t i = 0; b->set.sample != NULL && i < b->set.count; i++) {
		struct cwe_sequence *s = b->set.sample[i].sequence;
		if (s != NULL) {
			free(s->id);
			free(s->weight);
		}
		free(s);
	}
	free(b->set.sample);
	cwe_corpus_free(&b->corpus);
	cwe_companions_close(&b->others);
	cwe_source_close(b->source);
	bench_device_close(&b->on);
}

/* f32 numbers of the last round; those in f64 rounded. */
static int write_values(struct bench *b, const struct cwe_module_statistics *s, struct cwb_err *err)
{
	const float *grad[] = {s->grad_sum, s->grad_abs, s->grad_sq};
	int bad = 0;
	for (int i = 0; i < 3; i++) {
		bad |= grad[i] != NULL && fwrite(grad[i], sizeof *grad[i], s->rows * s->cols, b->values) != s->rows * s->cols;
	}
	for (uint64_t c = 0; s->act_sq != NULL && c < s->cols; c++) {
		float x = (float)s->act_sq[c];
		bad |= fwrite(&x, sizeof x, 1, b->values) != 1;
	}
	return bad ? cwb_err_set(err, CWP_ESTATE, "%s cannot be written", b->o.values) : 0;
}

static double sum(const float *x, uint64_t n)
{
	double s = 0;
	for (uint64_t i = 0; x != NULL && i < n; i++) {
		s += (double)x[i];
	}
	return s;
}

static int take_module(void *arg, uint32_t layer, uint32_t set, uint32_t linear, const struct cwe_module_statistics *s,
	struct cwb_err *err)
{
	struct bench *b = arg;
	(void)set;
	if (b->values != NULL) {
		return write_values(b, s, err);
	}
	if (b->o.sums) {
		char name[CWE_MODULE_NAME_MAX];
		double squares = 0;
		for (uint64_t c = 0; s->act_sq != NULL && c < s->cols; c++) {
			squares += s->act_sq[c];
		}
		(void)printf("%s\"%s\": {\"grad_sum\": %.9g, \"grad_abs\": %.9g, \"grad_sq\": %.9g, \"act_sq\": %.9g}", b->printed++ ? ", " : "{\"sums\": {",
			cwe_module_name(&b->model, layer, linear, name, sizeof name), sum(s->grad_sum, s->rows * s->cols), sum(s->grad_abs, s->rows * s->cols),
			sum(s->grad_sq, s->rows * s->cols), squares);
	}
	return 0;
}

static void look_at_memory(struct bench *b)
{
	uint64_t total, left;
	if (b->on.device.ops->memory(b->on.device.b, &total, &left) == 0 && left < b->least) {
		b->least = left;
	}
}

static int take_layer(void *arg, uint32_t layer, const char *digest, struct cwb_err *err)
{
	struct bench *b = arg;
	(void)digest;
	(void)err;
	b->layer_end[layer] = now();
	look_at_memory(b);
	return 0;
}

static void take_progress(void *arg, uint64_t done, uint64_t total)
{
	struct bench *b = arg;
	(void)total;
	if (done == b->forward_work && b->forward_end == 0) {
		(void)b->on.device.ops->sync(b->on.device.b);
		b->forward_end = now();
		look_at_memory(b);
	}
}

/* FLOP of products for one token: of all layers, and of the head. */
static void count_flop(const struct bench *b, double *ret_layers, double *ret_head)
{
	const struct cwe_arch *a = &b->model.arch;
	uint64_t all = 0, down = 0;
	int gradients = (b->o.needs & GRADIENTS) != 0;
	for (uint32_t l = 0; l < a->layers; l++) {
		for (uint32_t i = 0, n = cwe_linears(a, l); i < n; i++) {
			struct cwe_linear w;
			cwe_linear_at(a, l, i, &w);
			all += w.rows * w.cols;
			down += strstr(w.name, "down_proj") != NULL ? w.rows * w.cols : 0; /* not computed again */
		}
	}
	*ret_layers = gradients ? 6.0 * (double)all + 2.0 * (double)(all - down) : 2.0 * (double)all;
	*ret_head = gradients ? 4.0 * (double)a->vocabulary * (double)a->hidden : 0;
}

static int by_size(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;
	return (x > y) - (x < y);
}

/* The median time between the ends of layers that follow one another. */
static double layer_seconds(const struct bench *b)
{
	double step[CWE_LAYERS_MAX];
	uint32_t n = b->model.arch.layers, steps = 0;
	if (n < 2) {
		return 0;
	}
	for (uint32_t l = 0; l + 1 < n; l++) {
		double d = b->layer_end[l] - b->layer_end[l + 1];
		step[steps++] = d < 0 ? -d : d;
	}
	qsort(step, steps, sizeof *step, by_size);
	return step[steps / 2];
}

static void print_round(const struct bench *b, double seconds)
{
	const struct cwe_arch *a = &b->model.arch;
	double layers, head, tokens = (double)b->corpus.tokens, layer = layer_seconds(b);
	int gradients = (b->o.needs & GRADIENTS) != 0;
	struct rusage use;
	(void)getrusage(RUSAGE_SELF, &use);
	count_flop(b, &layers, &head);
	double forward = gradients ? b->forward_end - b->begin : seconds;
	/* From the end of the forward pass to that of the last layer's backward pass is the head and one layer. */
	double last = gradients ? b->layer_end[a->layers - 1] - b->forward_end - layer : 0;
	(void)printf("%s\"backend\": \"%s\", \"gpus\": %u, \"precision\": \"%s\", \"layers\": %u, \"tokens\": %.0f, \"seconds\": %.4f, \"forward\": %.4f, "
		"\"head\": %.4f, \"backward_layer\": %.5f, \"tokens_per_second\": %.1f, \"flop_per_token\": %.6g, \"head_flop_per_token\": %.6g, "
		"\"tflops\": %.3f, \"device_total\": %" PRIu64 ", \"device_taken\": %" PRIu64 ", \"allocated\": %zu, \"resident\": %" PRIu64 "}\n",
		b->printed ? "}, " : "{", b->on.device.ops->describe(b->on.device.b), b->o.gpus, b->o.precision, a->layers, tokens, seconds, forward, last > 0 ? last : 0,
		gradients ? layer : 0, tokens / seconds, layers + head, head, tokens * (layers + head) / seconds * 1e-12, b->total,
		b->total - b->least, b->on.device.peak, (uint64_t)use.ru_maxrss * 1024);
	(void)fflush(stdout);
}

static int run(struct bench *b, struct cwb_err *err)
{
	struct cwe_calibration c = {.model = &b->model, .corpus = &b->corpus, .needs = b->o.needs, .boundary_memory = UINT64_MAX,
		.resume = b->model.arch.layers, .arg = b, .module = take_module, .layer_done = take_layer, .progress = take_progress,
		.more = b->others.list, .n_more = b->others.n};
	b->forward_work = (uint64_t)b->model.arch.layers * b->corpus.tokens;
	b->forward_end = 0;
	b->printed = 0;
	if (b->o.trace) {
		trace_begin(b->o.trace_least);
	}
	b->begin = now();
	int r = cwe_calibrate_run(&c, err);
	r = r == 0 ? cwe_device_check(&b->on.device, "sync", b->on.device.ops->sync(b->on.device.b), err) : r;
	if (r == 0 && b->values == NULL) {
		print_round(b, now() - b->begin);
	}
	if (b->o.trace) {
		trace_print(stdout);
	}
	return r;
}

int main(int argc, char **argv)
{
	static struct bench b;
	struct cwb_err err = {0};
	if (parse(argc, argv, &b.o) != 0) {
		(void)fprintf(stderr, "usage: calibrate-run MODEL [--backend B] [--precision P] [--needs LIST] [--samples N] [--length N]\n"
			"    [--threads N] [--gpu-memory BYTES] [--gpus N] [--rounds N] [--seed N] [--sums] [--values FILE] [--plan]\n"
			"    [--trace MILLISECONDS]\n");
		return 64;
	}
	int r = open_all(&b, &err);
	r = r == 0 && b.o.plan ? print_plan(&b, &err) : r;
	for (uint32_t i = 0; r == 0 && !b.o.plan && i < b.o.rounds; i++) {
		r = run(&b, &err);
	}
	if (r == 0 && !b.o.plan && b.o.values != NULL) {
		b.values = fopen(b.o.values, "wb"); /* not timed */
		r = b.values != NULL ? run(&b, &err) : cwb_err_set(&err, CWP_ESTATE, "%s cannot be written", b.o.values);
	}
	if (b.values != NULL && fclose(b.values) != 0 && r == 0) {
		r = cwb_err_set(&err, CWP_ESTATE, "%s cannot be written", b.o.values);
	}
	if (r != 0) {
		(void)fprintf(stderr, "calibrate-run: %s\n", err.message);
	}
	close_all(&b);
	return r == 0 ? 0 : 1;
}
