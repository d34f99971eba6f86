/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* A backend in host memory whose operations on elements, rows and columns are those of the CUDA backend, with kernels that are
 * emulated: for tests/cuda on machines without a GPU. It has no other operations. */
#include <errno.h>
#include <malloc.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cwp/backend.h>

#include "plugins/backends/cuda/memory.h"
#include "plugins/backends/cuda/ops_base.h"
#include "plugins/backends/cuda/ops_gptq.h"
#include "plugins/backends/cuda/ops_rows.h"

enum { MOST_COPIES = 64 };

/* Numbers that an operation was asked to round besides, for a product that will not come: they are compared when the numbers
 * themselves are downloaded. */
struct copy {
	const float *d_p;
	uint64_t n;
	uint16_t *d_copy;
};

struct emulated {
	struct cuda b; /* first: operations take it for one */
	struct copy copy[MOST_COPIES];
	size_t copies;
	void *scratch;
	void *table;
};

int cuda_refuse(struct cuda *b, int code, const char *format, ...)
{
	char text[512];
	va_list ap;
	va_start(ap, format);
	vsnprintf(text, sizeof(text), format, ap);
	va_end(ap);
	b->host->fail(b->host->ctx, text);
	return code;
}

int cuda_check(struct cuda *b, const char *op, cudaError_t e)
{
	return e == cudaSuccess ? 0 : cuda_refuse(b, CWP_EPLUGIN, "%s: the kernel was not started: %d", op, (int)e);
}

int cuda_check_matrix(struct cuda *b, const char *op, const char *name, const void *p, uint64_t rows, uint64_t cols, uint64_t ld)
{
	if (rows == 0 || cols == 0) {
		return 0;
	}
	if (!p) {
		return cuda_refuse(b, CWP_EVALUE, "%s: %s is NULL", op, name);
	}
	return ld < cols ? cuda_refuse(b, CWP_ESHAPE, "%s: rows of %s overlap", op, name) : 0;
}

int cuda_check_sequences(struct cuda *b, const char *op, const struct cwp_sequences *s)
{
	for (uint64_t i = 0; i < s->count; i++) {
		if (s->start[0] != 0 || s->start[i + 1] < s->start[i]) {
			return cuda_refuse(b, CWP_ESHAPE, "%s: sequence %llu ends before its start", op, (unsigned long long)i);
		}
	}
	return 0;
}

/* Of exactly this size: what kernels write beside it is found where memory is checked. */
void *cuda_scratch(struct cuda *b, size_t bytes)
{
	struct emulated *e = (struct emulated *)b;
	free(e->scratch);
	e->scratch = malloc(bytes ? bytes : 1);
	if (e->scratch) {
		memset(e->scratch, 0xff, bytes);
	}
	return e->scratch;
}

const void *cuda_table(struct cuda *b, const char *op, const void *table, size_t bytes)
{
	struct emulated *e = (struct emulated *)b;
	(void)op;
	free(e->table);
	e->table = malloc(bytes ? bytes : 1);
	if (e->table) {
		memcpy(e->table, table, bytes);
	}
	return e->table;
}

static int meet(const struct copy *c, const void *d_p, size_t bytes)
{
	return (uintptr_t)c->d_p < (uintptr_t)d_p + bytes && (uintptr_t)d_p < (uintptr_t)(c->d_p + c->n);
}

void cuda_wrote(struct cuda *b, const void *d_p, size_t bytes)
{
	struct emulated *e = (struct emulated *)b;
	for (size_t i = e->copies; i-- > 0;) {
		if (meet(&e->copy[i], d_p, bytes)) {
			free(e->copy[i].d_copy);
			e->copy[i] = e->copy[--e->copies];
		}
	}
}

void *cuda_wrote_beside(struct cuda *b, const float *d_p, uint64_t n)
{
	struct emulated *e = (struct emulated *)b;
	cuda_wrote(b, d_p, n * sizeof(float));
	uint16_t *d_copy = n % 8 || e->copies == MOST_COPIES ? NULL : aligned_alloc(64, (n * 2 + 63) / 64 * 64);
	if (d_copy) {
		memset(d_copy, 0x55, n * 2);
		e->copy[e->copies++] = (struct copy){d_p, n, d_copy};
	}
	return d_copy;
}

static int rounded(float x, uint16_t bits)
{
	uint32_t u;
	memcpy(&u, &x, sizeof(u));
	return x != x ? (bits & 0x7fff) > 0x7f80 : bits == (uint16_t)((u + 0x7fff + (u >> 16 & 1)) >> 16);
}

size_t cuda_memory_behind(const struct cuda *b, const void *d_p)
{
	(void)b;
	(void)d_p;
	return 1;
}

static void emulated_close(void *vb)
{
	struct emulated *e = vb;
	if (e) {
		while (e->copies > 0) {
			free(e->copy[--e->copies].d_copy);
		}
		free(e->scratch);
		free(e->table);
	}
	free(e);
}

static int emulated_open(const struct cwp_host *host, const struct cwp_setting *settings, const char *device, void **ret_b)
{
	struct emulated *e = calloc(1, sizeof(*e));
	(void)settings;
	(void)device;
	if (!e) {
		return -ENOMEM;
	}
	e->b.host = host;
	e->b.processors = 3;
	*ret_b = e;
	return 0;
}

static const char *emulated_describe(void *b)
{
	(void)b;
	return "emulated";
}

static void *emulated_alloc(void *b, size_t bytes)
{
	(void)b;
	return bytes > SIZE_MAX / 2 ? NULL : aligned_alloc(64, (bytes + 64) / 64 * 64);
}

static void emulated_free(void *b, void *d_p)
{
	cuda_wrote(b, d_p, d_p ? malloc_usable_size(d_p) : 0);
	free(d_p);
}

static int emulated_copy(void *b, void *d_dst, const void *src, size_t bytes)
{
	cuda_wrote(b, d_dst, bytes);
	if (bytes) {
		memcpy(d_dst, src, bytes);
	}
	return 0;
}

static int emulated_download(void *vb, void *dst, const void *d_src, size_t bytes)
{
	const struct emulated *e = vb;
	for (size_t i = 0; i < e->copies; i++) {
		const struct copy *c = &e->copy[i];
		for (uint64_t k = 0; meet(c, d_src, bytes) && k < c->n; k++) {
			if (!rounded(c->d_p[k], c->d_copy[k])) {
				return cuda_refuse(vb, CWP_EPLUGIN, "number %llu of %llu is %g, but its copy in BF16 is %04x", (unsigned long long)k,
					(unsigned long long)c->n, (double)c->d_p[k], c->d_copy[k]);
			}
		}
	}
	if (bytes) {
		memcpy(dst, d_src, bytes);
	}
	return 0;
}

int cuda_download(void *b, void *dst, const void *d_src, size_t bytes)
{
	return emulated_download(b, dst, d_src, bytes);
}

static int emulated_zero(void *b, void *d_dst, size_t bytes)
{
	cuda_wrote(b, d_dst, bytes);
	if (bytes) {
		memset(d_dst, 0, bytes);
	}
	return 0;
}

static int emulated_sync(void *b)
{
	(void)b;
	return 0;
}

static int emulated_load(void *b, float *d_dst, const void *src, uint32_t dtype, uint64_t n)
{
	return cuda_convert(b, d_dst, src, dtype, n);
}

/* What is not emulated is refused. */
static int none(void *b, const char *op)
{
	return cuda_refuse(b, CWP_EPLUGIN, "%s is not emulated", op);
}

static int no_matmul(void *b, int trans_a, int trans_b, uint64_t m, uint64_t n, uint64_t k, const float *d_a, uint64_t lda,
	const float *d_b, uint64_t ldb, int accumulate, float *d_c, uint64_t ldc)
{
	(void)trans_a, (void)trans_b, (void)m, (void)n, (void)k, (void)d_a, (void)lda, (void)d_b, (void)ldb, (void)accumulate;
	(void)d_c, (void)ldc;
	return none(b, "matmul");
}

static int no_attention(void *b, const struct cwp_attention *a, const float *d_q, const float *d_k, const float *d_v, float *d_out,
	float *d_lse)
{
	(void)a, (void)d_q, (void)d_k, (void)d_v, (void)d_out, (void)d_lse;
	return none(b, "attention");
}

static int no_attention_backward(void *b, const struct cwp_attention *a, const float *d_q, const float *d_k, const float *d_v,
	const float *d_out, const float *d_lse, const float *d_dout, float *d_dq, float *d_dk, float *d_dv)
{
	(void)a, (void)d_q, (void)d_k, (void)d_v, (void)d_out, (void)d_lse, (void)d_dout, (void)d_dq, (void)d_dk, (void)d_dv;
	return none(b, "attention_backward");
}

static int no_decode(void *b, const struct cwp_attention *a, const float *d_q, const float *d_k_cache, const float *d_v_cache,
	uint64_t length, float *d_out)
{
	(void)a, (void)d_q, (void)d_k_cache, (void)d_v_cache, (void)length, (void)d_out;
	return none(b, "attention_decode");
}

static int no_grad_stats(void *b, const struct cwp_grad_stats *s)
{
	(void)s;
	return none(b, "grad_stats");
}

static int no_reduce(void *const *b, uint32_t n, uint32_t kind, void *const *d_x, uint64_t count)
{
	(void)b, (void)n, (void)kind, (void)d_x, (void)count;
	return CWP_EVALUE;
}

static int no_devices(const struct cwp_host *host, uint32_t index, struct cwp_backend_device *ret)
{
	(void)host, (void)index, (void)ret;
	return CWP_EMISSING;
}

static int emulated_memory(void *b, uint64_t *ret_total, uint64_t *ret_free)
{
	(void)b;
	*ret_total = *ret_free = 0;
	return 0;
}

static uint64_t emulated_overhead(void *b, const struct cwp_backend_use *use)
{
	(void)b, (void)use;
	return 0;
}

static int emulated_reserve(void *b, uint64_t bytes, const struct cwp_backend_use *use)
{
	(void)b, (void)bytes, (void)use;
	return 0;
}

static const struct cwp_backend backend = {
	.size = sizeof(struct cwp_backend),
	.flags = CWP_BACKEND_HOST_MEMORY,
	.open = emulated_open,
	.close = emulated_close,
	.describe = emulated_describe,
	.alloc = emulated_alloc,
	.free = emulated_free,
	.upload = emulated_copy,
	.download = emulated_download,
	.zero = emulated_zero,
	.sync = emulated_sync,
	.convert = cuda_convert,
	.add = cuda_add,
	.add_bias = cuda_add_bias,
	.rmsnorm = cuda_rmsnorm,
	.rmsnorm_backward = cuda_rmsnorm_backward,
	.rope = cuda_rope,
	.glu = cuda_glu,
	.glu_backward = cuda_glu_backward,
	.xent_begin = cuda_xent_begin,
	.xent_slice = cuda_xent_slice,
	.xent_backward = cuda_xent_backward,
	.act_stats = cuda_act_stats,
	.act_histogram = cuda_act_histogram,
	.fake_quant = cuda_fake_quant,
	.gather_rows = cuda_gather_rows,
	.scatter_rows = cuda_scatter_rows,
	.dot_rows = cuda_dot_rows,
	.softcap = cuda_softcap,
	.softcap_backward = cuda_softcap_backward,
	.act_abs = cuda_act_abs,
	.copy = emulated_copy,
	.narrow = cuda_narrow,
	.host_alloc = emulated_alloc,
	.host_free = emulated_free,
	.load_begin = emulated_sync,
	.load = emulated_load,
	.load_wait = emulated_sync,
	.fetch = emulated_copy,
	.fetch_wait = emulated_sync,
	.send = emulated_copy,
	.send_wait = emulated_sync,
	.matmul = no_matmul,
	.attention = no_attention,
	.attention_backward = no_attention_backward,
	.attention_decode = no_decode,
	.grad_stats = no_grad_stats,
	.memory = emulated_memory,
	.overhead = emulated_overhead,
	.reserve = emulated_reserve,
	.rows_alone = emulated_sync,
	.devices = no_devices,
	.enter = emulated_sync,
	.reduce = no_reduce,
	.gptq_factor = cuda_gptq_factor,
	.gptq_round = cuda_gptq_round,
	.gptq_work = cuda_gptq_work,
};

static const void *get_interface(const char *id)
{
	return strcmp(id, CWP_BACKEND_INTERFACE) == 0 ? &backend : NULL;
}

CWP_PLUGIN_NOTE(CWP_KIND_BACKEND)

CWP_PLUGIN_EXPORT const struct cwp_plugin cwp_plugin = {
	.size = sizeof(struct cwp_plugin),
	.abi_major = CWP_ABI_MAJOR,
	.abi_minor = CWP_ABI_MINOR,
	.kind = CWP_KIND_BACKEND,
	.id = "emulated",
	.version = "0.1.0",
	.vendor = "cwpd developers",
	.licence = "Apache-2.0",
	.summary = "Operations of the backend cuda on rows, emulated",
	.get_interface = get_interface,
};
