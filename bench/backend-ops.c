/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Where the time of a layer goes: each operation of a backend alone, at the shapes of one layer, beside what the device can do.
 *
 *     backend-ops-run [--backend cuda] [--precision bf16] [--tokens 8192] [--length 512] [--shape qwen2-7b|smollm2|tiny]
 *         [--only WORD] [--rounds N]
 *
 * Prints a table of Markdown. The limits come from the same run: bytes a second of a copy on the device, FLOP a second of a
 * product of 8192^3. An operation's bound is the larger of its bytes (each array once, f32, as the interface has them) and its
 * FLOP at these rates; its share is bound / time. The last columns are how often one layer needs it for Fisher scores (forward,
 * again, backward) and what that takes. Operands of products are written anew before each call, weights are not: so each call
 * rounds its operand, where in a layer several products share one and its producer may have rounded it. The first line is of a
 * whole layer, its operations one after another. */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "bench/device.h"
#include "bench/ops-layer.h"

struct shape {
	const char *name;
	uint64_t hidden, inner, heads, kv_heads, head_dim, vocabulary;
};

static const struct shape shapes[] = {{"qwen2-7b", 3584, 18944, 28, 4, 128, 152064}, {"smollm2", 576, 1536, 9, 3, 64, 49152},
	{"tiny", 64, 160, 4, 2, 16, 512}};

enum { SLICE = 16384, MOST_SAMPLES = 4096, PRODUCT = 8192 };

/* What the operations work on: one array of each kind, large enough for the widest use. */
struct bench {
	struct bench_device on;
	const struct cwp_backend *ops;
	void *b;
	const struct shape *s;
	const char *only;
	uint64_t tokens, slice;
	unsigned rounds;
	float *d_x, *d_y, *d_z, *d_g; /* [tokens, widest] */
	float *d_w, *d_stats;         /* [widest, hidden] */
	float *d_row;                 /* [tokens * heads] */
	double *d_double;             /* [widest] */
	uint32_t *d_index;            /* [tokens] */
	uint64_t start[MOST_SAMPLES + 1];
	struct cwp_attention attention;
	double copy, product;         /* bytes and FLOP a second */
	double sum;                   /* seconds of a layer */
};

struct job {
	const char *name;
	int (*run)(const struct bench *b, const struct job *j);
	uint64_t rows, cols; /* of a matrix of the layer, or a width */
	int flag;
	double flop, bytes;
	int count;           /* of a layer for Fisher scores */
};

static double now(void)
{
	struct timespec t;
	(void)clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* An array that an operation has just written. */
static int touch(const struct bench *b, float *d_p)
{
	return b->ops->zero(b->b, d_p, sizeof(float));
}

static int forward(const struct bench *b, const struct job *j)
{
	int r = touch(b, b->d_x);
	return r ? r : b->ops->matmul(b->b, 0, 1, b->tokens, j->rows, j->cols, b->d_x, j->cols, b->d_w, j->cols, 0, b->d_y, j->rows);
}

static int backward(const struct bench *b, const struct job *j)
{
	int r = touch(b, b->d_x);
	return r ? r : b->ops->matmul(b->b, 0, 0, b->tokens, j->cols, j->rows, b->d_x, j->rows, b->d_w, j->cols, 0, b->d_y, j->cols);
}

static int gram(const struct bench *b, const struct job *j)
{
	int r = touch(b, b->d_x);
	return r ? r : b->ops->matmul(b->b, 1, 0, j->cols, j->cols, b->tokens, b->d_x, j->cols, b->d_x, j->cols, 1, b->d_stats, j->cols);
}

static int gradients(const struct bench *b, const struct job *j)
{
	const struct cwp_grad_stats s = {.size = sizeof s, .rows = j->rows, .cols = j->cols, .samples = b->attention.sequences, .d_x = b->d_x,
		.ldx = j->cols, .d_dy = b->d_y, .lddy = j->rows, .d_sum = j->flag & 1 ? b->d_stats : NULL, .d_sq = j->flag & 4 ? b->d_stats : NULL};
	int r = touch(b, b->d_y);
	return r ? r : b->ops->grad_stats(b->b, &s);
}

static int norm(const struct bench *b, const struct job *j)
{
	return b->ops->rmsnorm(b->b, b->d_x, b->d_w, 0, 1e-5F, b->tokens, j->cols, b->d_y, b->d_row);
}

static int norm_backward(const struct bench *b, const struct job *j)
{
	return b->ops->rmsnorm_backward(b->b, b->d_y, b->d_x, b->d_w, 0, b->d_row, b->tokens, j->cols, 1, b->d_z, NULL, NULL);
}

static int rope(const struct bench *b, const struct job *j)
{
	uint32_t d = (uint32_t)b->s->head_dim;
	return b->ops->rope(b->b, b->d_x, b->tokens, j->cols, (uint32_t)(j->cols / d), d, d, b->d_w, b->d_w, b->d_index, j->flag);
}

static int attention(const struct bench *b, const struct job *j)
{
	(void)j;
	return b->ops->attention(b->b, &b->attention, b->d_x, b->d_y, b->d_z, b->d_g, b->d_row);
}

static int attention_backward(const struct bench *b, const struct job *j)
{
	(void)j;
	size_t q = b->tokens * b->s->hidden;
	return b->ops->attention_backward(b->b, &b->attention, b->d_x, b->d_y, b->d_z, b->d_g, b->d_row, b->d_g + q, b->d_x + q, b->d_y + q,
		b->d_z + q);
}

static int glu(const struct bench *b, const struct job *j)
{
	return b->ops->glu(b->b, CWP_GLU_SILU, b->d_x, b->d_y, b->tokens * j->cols, b->d_z);
}

static int glu_backward(const struct bench *b, const struct job *j)
{
	return b->ops->glu_backward(b->b, CWP_GLU_SILU, b->d_x, b->d_y, b->d_z, b->tokens * j->cols, b->d_x, b->d_y);
}

static int add(const struct bench *b, const struct job *j)
{
	return b->ops->add(b->b, b->d_x, b->d_y, b->tokens * j->cols);
}

static int add_bias(const struct bench *b, const struct job *j)
{
	return b->ops->add_bias(b->b, b->d_x, b->d_w, b->tokens, j->cols);
}

static int act_stats(const struct bench *b, const struct job *j)
{
	return b->ops->act_stats(b->b, b->d_x, b->tokens, j->cols, j->cols, NULL, b->d_double, NULL);
}

static int slice(const struct bench *b, const struct job *j)
{
	return b->ops->xent_slice(b->b, b->d_x, b->slice, j->cols, j->cols, 0, b->d_index, b->d_row, b->d_double, b->d_row + b->tokens,
		b->d_row + 2 * b->tokens, b->d_index + b->tokens);
}

static int slice_backward(const struct bench *b, const struct job *j)
{
	return b->ops->xent_backward(b->b, b->d_x, b->slice, j->cols, j->cols, 0, b->d_index, b->d_row, b->d_double);
}

static int copy(const struct bench *b, const struct job *j)
{
	return b->ops->copy(b->b, b->d_x, b->d_y, b->tokens * j->cols * sizeof(float));
}

static int square(const struct bench *b, const struct job *j)
{
	(void)j;
	uint64_t n = PRODUCT;
	while (n > 64 && n * n > b->tokens * (b->s->inner > b->s->hidden * 2 ? b->s->inner : b->s->hidden * 2)) {
		n /= 2;
	}
	return b->ops->matmul(b->b, 0, 1, n, n, n, b->d_x, n, b->d_y, n, 0, b->d_z, n);
}

/* The least mean of some repetitions, in seconds; negative: a code of the backend. */
static double measure(const struct bench *b, const struct job *j)
{
	double least = 1e30;
	unsigned repeat = 1;
	int r = j->run(b, j);
	r = r ? r : b->ops->sync(b->b);
	for (unsigned round = 0; r == 0 && round <= b->rounds; round++) {
		double begin = now();
		for (unsigned i = 0; r == 0 && i < repeat; i++) {
			r = j->run(b, j);
		}
		r = r ? r : b->ops->sync(b->b);
		double each = (now() - begin) / repeat;
		if (round > 0) {
			least = each < least ? each : least;
		} else { /* the first round says how often; about 30 ms each */
			double times = 0.03 / (each > 1e-6 ? each : 1e-6);
			repeat = times > 200 ? 200 : times < 2 ? 2 : (unsigned)times;
		}
	}
	return r ? (double)r : least;
}

static int one(struct bench *b, const struct job *j)
{
	if (b->only != NULL && strstr(j->name, b->only) == NULL) {
		return 0;
	}
	double t = measure(b, j);
	if (t < 0) {
		(void)fprintf(stderr, "backend-ops-run: %s: code %.0f: %s\n", j->name, t, b->on.host.failure);
		return 1;
	}
	double by_bytes = b->copy > 0 ? j->bytes / b->copy : 0, by_flop = b->product > 0 ? j->flop / b->product : 0;
	double bound = by_bytes > by_flop ? by_bytes : by_flop;
	b->sum += t * j->count;
	(void)printf("| %s | %.1f | %.1f | %.0f | %s | %.0f %% | %d | %.3f |\n", j->name, 1e6 * t, j->flop / t * 1e-12, j->bytes / t * 1e-9,
		by_bytes > by_flop ? "bytes" : "FLOP", 100 * bound / t, j->count, 1e3 * t * j->count);
	(void)fflush(stdout);
	return 0;
}

static int matrices(struct bench *b)
{
	const struct shape *s = b->s;
	uint64_t d = s->hidden, kv = s->kv_heads * s->head_dim, i = s->inner;
	const struct {
		const char *name;
		uint64_t rows, cols;
		int count, again;
	} list[] = {{"q, o", d, d, 2, 1}, {"k, v", kv, d, 2, 1}, {"gate, up", i, d, 2, 1}, {"down", d, i, 1, 0}};
	int failed = 0;
	for (size_t m = 0; m < sizeof list / sizeof *list; m++) {
		char name[3][64];
		uint64_t rows = list[m].rows, cols = list[m].cols;
		double t = (double)b->tokens, flop = 2.0 * t * (double)rows * (double)cols;
		double x = 4 * t * (double)cols, y = 4 * t * (double)rows, w = 4 * (double)rows * (double)cols;
		(void)snprintf(name[0], sizeof name[0], "%s: X W^T", list[m].name);
		(void)snprintf(name[1], sizeof name[1], "%s: dY W", list[m].name);
		(void)snprintf(name[2], sizeof name[2], "%s: grad_stats sq", list[m].name);
		failed |= one(b, &(struct job){name[0], forward, rows, cols, 0, flop, x + y + w, list[m].count * (1 + list[m].again)});
		failed |= one(b, &(struct job){name[1], backward, rows, cols, 0, flop, x + y + w, list[m].count});
		failed |= one(b, &(struct job){name[2], gradients, rows, cols, 4, flop, x + y + 2 * w, list[m].count});
	}
	failed |= one(b, &(struct job){"gate: grad_stats sum", gradients, i, d, 1, 2.0 * (double)b->tokens * (double)i * (double)d,
		4 * (double)b->tokens * (double)(i + d) + 8 * (double)i * (double)d, 0});
	failed |= one(b, &(struct job){"q: X^T X", gram, d, d, 0, 2.0 * (double)b->tokens * (double)d * (double)d,
		4 * (double)b->tokens * (double)d + 8 * (double)d * (double)d, 0});
	return failed;
}

static int others(struct bench *b)
{
	const struct shape *s = b->s;
	uint64_t d = s->hidden, kv = s->kv_heads * s->head_dim, i = s->inner, n = s->vocabulary < SLICE ? s->vocabulary : SLICE;
	double t = (double)b->tokens, row = 4 * t, length = (double)b->start[1];
	double pairs = t * (length + 1) / 2 * (double)(s->heads * s->head_dim);
	const struct job list[] = {{"rmsnorm", norm, 0, d, 0, 0, 2 * row * (double)d, 4}, {"rmsnorm_backward", norm_backward, 0, d, 0, 0, 4 * row * (double)d, 2},
		{"rope q", rope, 0, d, 0, 0, 2 * row * (double)d, 3}, {"rope k", rope, 0, kv, 1, 0, 2 * row * (double)kv, 3},
		{"attention", attention, 0, 0, 0, 4 * pairs, row * (double)(2 * d + 2 * kv), 2},
		{"attention_backward", attention_backward, 0, 0, 0, 10 * pairs, row * (double)(4 * d + 4 * kv), 1},
		{"glu", glu, 0, i, 0, 0, 3 * row * (double)i, 2}, {"glu_backward", glu_backward, 0, i, 0, 0, 5 * row * (double)i, 1},
		{"add", add, 0, d, 0, 0, 3 * row * (double)d, 6}, {"add_bias q", add_bias, 0, d, 0, 0, 2 * row * (double)d, 2},
		{"add_bias k, v", add_bias, 0, kv, 0, 0, 2 * row * (double)kv, 4}, {"copy", copy, 0, d, 0, 0, 2 * row * (double)d, 0},
		{"act_stats sq, hidden", act_stats, 0, d, 0, 0, row * (double)d, 0}, {"act_stats sq, inner", act_stats, 0, i, 0, 0, row * (double)i, 0},
		{"xent_slice", slice, 0, n, 0, 0, 4 * (double)b->slice * (double)n, 0},
		{"xent_backward", slice_backward, 0, n, 0, 0, 8 * (double)b->slice * (double)n, 0}};
	int failed = 0;
	for (size_t k = 0; k < sizeof list / sizeof *list; k++) {
		failed |= one(b, &list[k]);
	}
	return failed;
}

static int layer(struct bench *b)
{
	const struct shape *s = b->s;
	const struct ops_layer_shape shape = {s->hidden, s->inner, s->heads, s->kv_heads, s->head_dim};
	if (b->only != NULL && strstr("layer", b->only) == NULL) {
		return 0;
	}
	double t = ops_layer(b->ops, b->b, &shape, &b->attention.sequences, b->d_y, b->d_w, b->d_index, b->d_stats, b->rounds);
	if (t < 0) {
		(void)fprintf(stderr, "backend-ops-run: a layer: code %.0f: %s\n", t, b->on.host.failure);
		return 1;
	}
	double weights = (double)(s->hidden * (s->heads + s->kv_heads) * s->head_dim * 2 + 3 * s->hidden * s->inner);
	/* Forward, again without the last product, backward twice. */
	double flop = 2.0 * (double)b->tokens * (4 * weights - (double)(s->hidden * s->inner));
	(void)printf("| a layer in order | %.1f | %.1f | | | | | %.3f |\n", 1e6 * t, flop / t * 1e-12, 1e3 * t);
	return 0;
}

/* The device's own limits: a copy of an array of the widest size, and a square product. */
static int limits(struct bench *b)
{
	const struct job c = {"copy", copy, 0, b->s->inner, 0, 0, 0, 0}, p = {"product", square, 0, 0, 0, 0, 0, 0};
	double t = measure(b, &c), u = measure(b, &p);
	uint64_t widest = b->s->inner > b->s->hidden * 2 ? b->s->inner : b->s->hidden * 2, n = PRODUCT;
	while (n > 64 && n * n > b->tokens * widest) {
		n /= 2;
	}
	if (t < 0 || u < 0) {
		(void)fprintf(stderr, "backend-ops-run: code %.0f: %s\n", t < 0 ? t : u, b->on.host.failure);
		return 1;
	}
	b->copy = 8 * (double)b->tokens * (double)b->s->inner / t;
	b->product = 2.0 * (double)n * (double)n * (double)n / u;
	(void)printf("%s; copy %.3g TB/s, product of %llu^3 %.1f TFLOP/s; %s, %llu tokens in sequences of %llu\n\n", b->ops->describe(b->b),
		b->copy * 1e-12, (unsigned long long)n, b->product * 1e-12, b->s->name, (unsigned long long)b->tokens, (unsigned long long)b->start[1]);
	return 0;
}

static float *filled(struct bench *b, uint64_t n, float scale, struct cwb_err *err)
{
	enum { CHUNK = 1 << 20 };
	static float host[CHUNK];
	float *d = NULL;
	uint64_t state = n;
	int r = cwe_device_floats(&b->on.device, n, &d, err);
	for (size_t i = 0; i < CHUNK; i++) {
		uint64_t z = cwe_random(1, state, i);
		/* About normal: what products draw in power depends on the numbers. */
		host[i] = scale * ((float)(z & 0xFFFF) + (float)(z >> 16 & 0xFFFF) + (float)(z >> 32 & 0xFFFF) + (float)(z >> 48) - 131070.0F) * 2.6e-5F;
	}
	for (uint64_t at = 0; r == 0 && at < n; at += CHUNK) {
		uint64_t m = n - at < CHUNK ? n - at : CHUNK;
		r = cwe_device_check(&b->on.device, "upload", b->ops->upload(b->b, d + at, host, m * sizeof *host), err);
	}
	return r == 0 ? d : NULL;
}

static int make_arrays(struct bench *b, uint64_t length, struct cwb_err *err)
{
	const struct shape *s = b->s;
	uint64_t widest = s->inner > 2 * s->hidden ? s->inner : 2 * s->hidden, n = s->vocabulary < SLICE ? s->vocabulary : SLICE;
	uint64_t room = b->tokens * widest, count = b->tokens / length;
	b->slice = room / n < b->tokens ? room / n : b->tokens;
	for (uint64_t i = 0; i <= count; i++) {
		b->start[i] = i * length;
	}
	b->attention = (struct cwp_attention){.size = sizeof b->attention, .heads = (uint32_t)s->heads, .kv_heads = (uint32_t)s->kv_heads,
		.head_dim = (uint32_t)s->head_dim, .scale = 0.1F, .sequences = {count, b->start}};
	float **arrays[] = {&b->d_x, &b->d_y, &b->d_z, &b->d_g};
	for (size_t i = 0; i < 4; i++) {
		if ((*arrays[i] = filled(b, room, 1.0F, err)) == NULL) {
			return -1;
		}
	}
	void *index;
	if ((b->d_w = filled(b, widest * s->hidden, 0.02F, err)) == NULL || (b->d_stats = filled(b, widest * s->hidden, 0.02F, err)) == NULL ||
		(b->d_row = filled(b, b->tokens * (s->heads + 3), 1.0F, err)) == NULL ||
		(b->d_double = (double *)(void *)filled(b, 2 * (b->tokens > widest ? b->tokens : widest), 1.0F, err)) == NULL ||
		cwe_device_bytes(&b->on.device, 8 * b->tokens, &index, err) != 0) {
		return -1;
	}
	b->d_index = index;
	return cwe_device_check(&b->on.device, "zero", b->ops->zero(b->b, index, 8 * b->tokens), err);
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
		{"length", 1, NULL, 'l'}, {"shape", 1, NULL, 's'}, {"only", 1, NULL, 'o'}, {"rounds", 1, NULL, 'r'}, {NULL, 0, NULL, 0}};
	static struct bench b = {.s = shapes, .tokens = 8192, .rounds = 3};
	const char *backend = "cuda", *precision = "bf16";
	struct cwb_err err = {0};
	uint64_t length = 512;
	int bad = 0;
	for (int c; (c = getopt_long(argc, argv, "", names, NULL)) != -1;) {
		const char *text = optarg != NULL ? optarg : "";
		uint64_t n = strtoull(text, NULL, 10);
		switch (c) {
		case 'b': backend = text; break;
		case 'p': precision = text; break;
		case 't': b.tokens = n; break;
		case 'l': length = n; break;
		case 'o': b.only = text; break;
		case 'r': b.rounds = (unsigned)n; break;
		case 's':
			for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
				b.s = strcmp(shapes[i].name, text) == 0 ? &shapes[i] : b.s;
			}
			break;
		default: bad = 1;
		}
	}
	if (bad || length == 0 || b.tokens < length || b.tokens / length > MOST_SAMPLES || b.tokens % length != 0 || b.rounds == 0) {
		(void)fprintf(stderr, "usage: backend-ops-run [--backend B] [--precision P] [--tokens N] [--length N, which divides it] [--shape S]\n"
			"    [--only WORD] [--rounds N]\n");
		return 64;
	}
	if (open_all(&b, backend, precision, &err) != 0 || make_arrays(&b, length, &err) != 0 || b.ops == NULL) {
		(void)fprintf(stderr, "backend-ops-run: %s\n", err.message);
		return 1;
	}
	int failed = limits(&b);
	if (!failed) {
		(void)printf("| operation | us | TFLOP/s | GB/s | limit | share | times | ms a layer |\n| --- | --- | --- | --- | --- | --- | --- | --- |\n");
		failed = layer(&b); /* first: its arrays are as they were filled */
		failed |= matrices(&b);
		failed |= others(&b);
		(void)printf("| sum of the operations | | | | | | | %.3f |\n", 1e3 * b.sum);
	}
	void *all[] = {b.d_x, b.d_y, b.d_z, b.d_g, b.d_w, b.d_stats, b.d_row, b.d_double, b.d_index};
	for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
		b.ops->free(b.b, all[i]);
	}
	bench_device_close(&b.on);
	return failed;
}
