/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* GPTQ on a device, operation by operation: x x^T of some tokens, its factor, rows rounded with it.
 *
 *     gptq-ops-run [--backend cuda] [--precision bf16] [--tokens 8192] [--hidden 3584] [--inner 18944] [--rounds 3]
 *
 * Prints a table of Markdown for the inputs of a layer's two kinds: `hidden` wide with `inner` rows, and the other way round. FLOP
 * are those of the method: n^2 for each token (one triangle), 2/3 n^3 for the factor, rows * n^2 for the rounding. */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "bench/device.h"

struct bench {
	struct bench_device on;
	const struct cwp_backend *ops;
	void *b;
	uint64_t tokens, rows, cols, group;
	unsigned rounds;
	int ordered;
	float *d_x, *d_gram, *d_u, *d_weight, *d_scales;
	uint32_t *d_order;
	uint8_t *d_codes;
	void *d_work;
};

static double now(void)
{
	struct timespec t;
	(void)clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* Of rows and columns numbers that are about normal. */
static int fill(const struct bench *b, float *d, uint64_t n, float scale)
{
	enum { CHUNK = 1 << 20 };
	static float part[CHUNK];
	int r = 0;
	for (size_t i = 0; i < CHUNK; i++) {
		uint64_t z = cwe_random(1, n, i);
		part[i] = scale * ((float)(z & 0xFFFF) + (float)(z >> 16 & 0xFFFF) + (float)(z >> 32 & 0xFFFF) + (float)(z >> 48) - 131070.0F) * 2.6e-5F;
	}
	/* Each part begins elsewhere in the same numbers, so that rows are not alike. */
	for (uint64_t at = 0, skip = 0; r == 0 && at < n; skip = (skip + 7919) % (CHUNK / 2)) {
		uint64_t m = n - at < CHUNK - skip ? n - at : CHUNK - skip;
		r = b->ops->upload(b->b, d + at, part + skip, m * sizeof *part);
		at += m;
	}
	return r;
}

/* Of the upper triangle strips of rows, as a calibration adds them. */
static int gram(const struct bench *b)
{
	enum { STRIP = 512 };
	const uint64_t n = b->cols;
	int r = 0;
	for (uint64_t at = 0; r == 0 && at < n; at += STRIP) {
		r = b->ops->matmul(b->b, 1, 0, n - at < STRIP ? n - at : STRIP, n - at, b->tokens, b->d_x + at, n, b->d_x + at, n, 0,
			b->d_gram + at * n + at, n);
	}
	return r;
}

static int factor(const struct bench *b)
{
	const struct cwp_gptq_factor f = {.size = sizeof f, .n = b->cols, .d_gram = b->d_gram, .d_order = b->ordered ? b->d_order : NULL,
		.damping = 0.01 * (double)b->tokens, .d_u = b->d_u, .d_work = b->d_work};
	int r = b->ops->gptq_factor(b->b, &f);
	return r == 1 ? CWP_ENUMBER : r;
}

static int round_rows(const struct bench *b)
{
	const struct cwp_gptq_round g = {.size = sizeof g, .rows = b->rows, .cols = b->cols, .group = b->group ? b->group : b->cols, .bits = 4,
		.symmetric = 1, .d_order = b->ordered ? b->d_order : NULL, .d_u = b->d_u, .d_weight = b->d_weight, .d_codes = b->d_codes,
		.d_scales = b->d_scales, .d_work = b->d_work};
	return b->ops->gptq_round(b->b, &g);
}

/* The fastest of some rounds after one for warming up, in seconds; a code below 0. */
static double measure(const struct bench *b, int (*run)(const struct bench *b))
{
	double best = 1e30;
	for (unsigned i = 0; i <= b->rounds; i++) {
		double begin = now();
		int r = run(b);
		r = r ? r : b->ops->sync(b->b);
		if (r) {
			return r < 0 ? r : -1;
		}
		double t = now() - begin;
		best = i > 0 && t < best ? t : best;
	}
	return best;
}

static int one(const struct bench *b, const char *what, int (*run)(const struct bench *b), double flop)
{
	double t = measure(b, run);
	if (t < 0) {
		(void)fprintf(stderr, "gptq-ops-run: %s: code %.0f: %s\n", what, t, b->on.host.failure);
		return 1;
	}
	(void)printf("| %llu x %llu | %s | %.2f | %.1f |\n", (unsigned long long)b->rows, (unsigned long long)b->cols, what, 1e3 * t,
		flop / t * 1e-12);
	return 0;
}

static int allocate(struct bench *b, struct cwb_err *err)
{
	const uint64_t n = b->cols, work = b->ops->gptq_work(b->b, b->rows, n);
	void *order = NULL, *codes = NULL;
	uint32_t *list = malloc(n * sizeof *list);
	int r = list != NULL ? 0 : -1;
	r = r ? r : cwe_device_floats(&b->on.device, b->tokens * n, &b->d_x, err);
	r = r ? r : cwe_device_floats(&b->on.device, n * n, &b->d_gram, err);
	r = r ? r : cwe_device_floats(&b->on.device, n * n, &b->d_u, err);
	r = r ? r : cwe_device_floats(&b->on.device, b->rows * n, &b->d_weight, err);
	r = r ? r : cwe_device_floats(&b->on.device, b->rows * n, &b->d_scales, err);
	r = r ? r : cwe_device_bytes(&b->on.device, n * sizeof *list, &order, err);
	r = r ? r : cwe_device_bytes(&b->on.device, b->rows * n, &codes, err);
	r = r ? r : cwe_device_bytes(&b->on.device, work, &b->d_work, err);
	for (uint64_t i = 0; r == 0 && i < n; i++) {
		/* Far from the order in memory; 7919 is a prime that divides no width of a model. */
		list[i] = (uint32_t)(i * 7919 % n);
	}
	b->d_order = order;
	b->d_codes = codes;
	r = r ? r : cwe_device_check(&b->on.device, "upload", b->ops->upload(b->b, order, list, n * sizeof *list), err);
	r = r ? r : cwe_device_check(&b->on.device, "upload", fill(b, b->d_x, b->tokens * n, 1.0F), err);
	r = r ? r : cwe_device_check(&b->on.device, "upload", fill(b, b->d_weight, b->rows * n, 0.02F), err);
	free(list);
	return r;
}

static void release(struct bench *b)
{
	void *all[] = {b->d_x, b->d_gram, b->d_u, b->d_weight, b->d_scales, b->d_order, b->d_codes, b->d_work};
	for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
		b->ops->free(b->b, all[i]);
	}
	b->d_x = b->d_gram = b->d_u = b->d_weight = b->d_scales = NULL;
	b->d_order = NULL;
	b->d_codes = NULL;
	b->d_work = NULL;
}

static int shape(struct bench *b, uint64_t rows, uint64_t cols)
{
	static const char *const names[2][3] = {{"factor", "round, group 128", "round, one scale a row"},
		{"factor, in another order", "round in another order, group 128", "round in another order, one scale a row"}};
	const double n = (double)cols;
	struct cwb_err err = {0};
	b->rows = rows;
	b->cols = cols;
	if (allocate(b, &err) != 0 || b->ops == NULL) {
		(void)fprintf(stderr, "gptq-ops-run: %s\n", err.message);
		return 1;
	}
	int failed = one(b, "x x^T", gram, n * n * (double)b->tokens);
	for (b->ordered = 0; !failed && b->ordered < 2; b->ordered++) {
		failed = one(b, names[b->ordered][0], factor, 2.0 / 3.0 * n * n * n);
		for (unsigned k = 0; !failed && k < 2; k++) {
			b->group = k == 0 ? 128 : 0;
			failed = one(b, names[b->ordered][1 + k], round_rows, (double)rows * n * n);
		}
	}
	release(b);
	return failed;
}

static int open_all(struct bench *b, const char *backend, const char *precision, struct cwb_err *err)
{
	int r = bench_device_prepare(&b->on, 0, err);
	r = r == 0 ? bench_device_open(&b->on, backend, precision, err) : r;
	b->ops = b->on.device.ops;
	b->b = b->on.device.b;
	return r;
}

int main(int argc, char **argv)
{
	static const struct option names[] = {{"backend", 1, NULL, 'b'}, {"precision", 1, NULL, 'p'}, {"tokens", 1, NULL, 't'},
		{"hidden", 1, NULL, 'h'}, {"inner", 1, NULL, 'i'}, {"rounds", 1, NULL, 'r'}, {NULL, 0, NULL, 0}};
	static struct bench b = {.tokens = 8192, .rounds = 3};
	const char *backend = "cuda", *precision = "bf16";
	uint64_t hidden = 3584, inner = 18944;
	struct cwb_err err = {0};
	int bad = 0;
	for (int c; (c = getopt_long(argc, argv, "", names, NULL)) != -1;) {
		const char *text = optarg != NULL ? optarg : "";
		uint64_t n = strtoull(text, NULL, 10);
		switch (c) {
		case 'b': backend = text; break;
		case 'p': precision = text; break;
		case 't': b.tokens = n; break;
		case 'h': hidden = n; break;
		case 'i': inner = n; break;
		case 'r': b.rounds = (unsigned)n; break;
		default: bad = 1;
		}
	}
	if (bad || b.tokens == 0 || hidden == 0 || inner == 0 || b.rounds == 0) {
		(void)fprintf(stderr, "usage: gptq-ops-run [--backend B] [--precision P] [--tokens N] [--hidden N] [--inner N] [--rounds N]\n");
		return 64;
	}
	if (open_all(&b, backend, precision, &err) != 0 || b.ops == NULL) {
		(void)fprintf(stderr, "gptq-ops-run: %s\n", err.message);
		return 1;
	}
	int failed = b.ops->gptq_factor == NULL;
	if (failed) {
		(void)fprintf(stderr, "gptq-ops-run: %s leaves GPTQ to the host\n", b.ops->describe(b.b));
	} else {
		(void)printf("%s, %llu tokens\n\n| rows x columns | operation | ms | TFLOP/s |\n| ---: | --- | ---: | ---: |\n", b.ops->describe(b.b),
			(unsigned long long)b.tokens);
		failed = shape(&b, inner, hidden) || shape(&b, hidden, inner);
	}
	bench_device_close(&b.on);
	return failed ? 1 : 0;
}
