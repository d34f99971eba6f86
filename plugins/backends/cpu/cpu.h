/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* What the files of the CPU backend share. The operations are those of struct cwp_backend, where
 * they are explained. */
#ifndef CPU_CPU_H
#define CPU_CPU_H

#include <stdatomic.h>

#include <cwp/backend.h>

#include "plugins/backends/cpu/kernels.h"

/* Memory that one thread uses while it runs one piece of work. */
struct scratch {
	atomic_int busy;
	void *memory;
	size_t size;
};

struct cpu {
	const struct cwp_host *host;
	struct kernels k;
	int bf16;                    /* precision of matmul and grad_stats */
	const struct panels *panels; /* of that precision */
	struct scratch *scratch; /* [slots] */
	size_t slots;            /* as many as the host has threads */
	struct scratch shared;   /* of the operation that runs; never busy */
	char name[64];
};

/* The plugin's options, in their order. */
enum cpu_option { CPU_OPTION_ISA, CPU_OPTION_PRECISION, CPU_OPTIONS };

/* What the plugin offers. */
extern const struct cwp_backend cpu_backend;

/* Explains a refusal through host->fail() and returns code. */
int cpu_refuse(struct cpu *b, int code, const char *format, ...)
	__attribute__((format(printf, 3, 4)));
/* CWP_ESHAPE unless rows * ld elements of f32 are addressable and ld >= cols; name is for the
 * message. */
int cpu_check_matrix(struct cpu *b, const char *op, const char *name, const void *p, uint64_t rows,
	uint64_t cols, uint64_t ld);
/* CWP_ESHAPE unless the starts begin with 0 and ascend. */
int cpu_check_sequences(struct cpu *b, const char *op, const struct cwp_sequences *s);

/* body(arg, i) for i in [0, n), in place when there is only one. */
void cpu_run(struct cpu *b, size_t n, void (*body)(void *arg, size_t i), void *arg);

/* Rows in pieces of work of about `chunk` elements: rows of a piece, cols being at least 1. */
static inline uint64_t cpu_rows_each(uint64_t cols, uint64_t chunk)
{
	return cols >= chunk ? 1 : chunk / cols;
}

static inline size_t cpu_pieces(uint64_t rows, uint64_t rows_each)
{
	return (size_t)((rows + rows_each - 1) / rows_each);
}

/* The rows [*ret_first, *ret_end) of piece i. */
static inline void cpu_piece(uint64_t rows, uint64_t rows_each, size_t i, uint64_t *ret_first,
	uint64_t *ret_end)
{
	*ret_first = (uint64_t)i * rows_each;
	*ret_end = rows - *ret_first < rows_each ? rows : *ret_first + rows_each;
}

/* Gives each slot at least this much; -ENOMEM. Called before cpu_run. */
int cpu_scratch_reserve(struct cpu *b, size_t bytes);
/* Memory of this size that all threads of one operation share, valid until the next call; NULL when
 * there is none. */
void *cpu_scratch_shared(struct cpu *b, size_t bytes);
/* A slot's memory for the calling thread; given back at the end of the piece of work. [any-thread]
 */
struct scratch *cpu_scratch_take(struct cpu *b);
void cpu_scratch_give(struct scratch *s);
void cpu_scratch_free(struct cpu *b);

void *cpu_alloc(void *b, size_t bytes);
void cpu_free(void *b, void *d_p);
int cpu_upload(void *b, void *d_dst, const void *src, size_t bytes);
int cpu_download(void *b, void *dst, const void *d_src, size_t bytes);
int cpu_zero(void *b, void *d_dst, size_t bytes);
int cpu_sync(void *b);
int cpu_copy(void *b, void *d_dst, const void *d_src, size_t bytes);
int cpu_memory(void *b, uint64_t *ret_total, uint64_t *ret_free);
uint64_t cpu_overhead(void *b, const struct cwp_backend_use *use);
int cpu_reserve(void *b, uint64_t bytes, const struct cwp_backend_use *use);
int cpu_reduce(void *const *b, uint32_t n, uint32_t kind, void *const *d_x, uint64_t count);
int cpu_devices(const struct cwp_host *host, uint32_t index, struct cwp_backend_device *ret);

int cpu_convert(void *b, float *d_dst, const void *d_src, uint32_t dtype, uint64_t n);
int cpu_load(void *b, float *d_dst, const void *src, uint32_t dtype, uint64_t n);
int cpu_narrow(void *b, void *d_dst, uint32_t dtype, const float *d_src, uint64_t n);
int cpu_matmul(void *b, int trans_a, int trans_b, uint64_t m, uint64_t n, uint64_t k,
	const float *d_a, uint64_t lda, const float *d_b, uint64_t ldb, int accumulate, float *d_c,
	uint64_t ldc);
int cpu_rows_alone(void *b);
int cpu_add(void *b, float *d_y, const float *d_x, uint64_t n);
int cpu_add_bias(void *b, float *d_y, const float *d_bias, uint64_t rows, uint64_t cols);
int cpu_rmsnorm(void *b, const float *d_x, const float *d_w, float offset, float eps, uint64_t rows,
	uint64_t cols, float *d_y, float *d_rstd);
int cpu_rmsnorm_backward(void *b, const float *d_dy, const float *d_x, const float *d_w,
	float offset, const float *d_rstd, uint64_t rows, uint64_t cols, int accumulate,
	float *d_dx, const struct cwp_sequences *samples, float *d_dw);
int cpu_rope(void *b, float *d_x, uint64_t rows, uint64_t ld, uint32_t heads, uint32_t head_dim,
	uint32_t rotary, const float *d_cos, const float *d_sin, const uint32_t *d_position,
	int inverse);
int cpu_attention(void *b, const struct cwp_attention *a, const float *d_q, const float *d_k,
	const float *d_v, float *d_out, float *d_lse);
int cpu_attention_backward(void *b, const struct cwp_attention *a, const float *d_q,
	const float *d_k, const float *d_v, const float *d_out, const float *d_lse,
	const float *d_dout, float *d_dq, float *d_dk, float *d_dv);
int cpu_attention_decode(void *b, const struct cwp_attention *a, const float *d_q,
	const float *d_k_cache, const float *d_v_cache, uint64_t length, float *d_out);
int cpu_glu(void *b, uint32_t act, const float *d_gate, const float *d_up, uint64_t n, float *d_h);
int cpu_glu_backward(void *b, uint32_t act, const float *d_gate, const float *d_up,
	const float *d_dh, uint64_t n, float *d_dgate, float *d_dup);
int cpu_xent_begin(void *b, uint64_t rows, float *d_max, double *d_sum, float *d_target_logit,
	float *d_best, uint32_t *d_best_token);
int cpu_xent_slice(void *b, const float *d_logits, uint64_t rows, uint64_t ld, uint64_t n,
	uint32_t first, const uint32_t *d_target, float *d_max, double *d_sum,
	float *d_target_logit, float *d_best, uint32_t *d_best_token);
int cpu_xent_backward(void *b, float *d_logits, uint64_t rows, uint64_t ld, uint64_t n,
	uint32_t first, const uint32_t *d_target, const float *d_weight, const double *d_lse);
int cpu_grad_stats(void *b, const struct cwp_grad_stats *s);
int cpu_act_stats(void *b, const float *d_x, uint64_t rows, uint64_t cols, uint64_t ld,
	double *d_sum, double *d_sq, float *d_absmax);
int cpu_act_histogram(void *b, const float *d_x, uint64_t rows, uint64_t cols, uint64_t ld,
	uint64_t *d_count);
int cpu_act_abs(void *b, const float *d_x, uint64_t rows, uint64_t cols, uint64_t ld, double *d_abs);
int cpu_fake_quant(void *b, const struct cwp_activation *a, const float *d_x, uint64_t rows,
	uint64_t cols, float *d_y);
int cpu_gather_rows(void *b, const float *d_x, const uint32_t *d_index, const float *d_factor,
	uint64_t rows, uint64_t cols, float *d_y);
int cpu_scatter_rows(void *b, const float *d_x, const uint32_t *d_index, const float *d_factor,
	uint64_t rows, uint64_t cols, float *d_y);
int cpu_dot_rows(
	void *b, const float *d_x, const float *d_y, uint64_t rows, uint64_t cols, float *d_dot);
int cpu_softcap(void *b, float *d_x, uint64_t n, float cap);
int cpu_softcap_backward(void *b, float *d_dx, const float *d_y, uint64_t n, float cap);

/* What attention and its backward pass share. */
enum { ATTENTION_BLOCK = 64 }; /* query rows of one piece of work */

int cpu_check_attention(struct cpu *b, const char *op, const struct cwp_attention *a);
/* First key that the query at `position` sees. */
uint64_t cpu_first_key(const struct cwp_attention *a, uint64_t position);
/* The most keys that one block of queries sees. */
uint64_t cpu_most_keys(const struct cwp_attention *a);

/* A product of at least one element over panels in the precision in force, products.c. */
int cpu_product(struct cpu *b, const struct gemm *g);

/* The most scratch, in bytes, of products whose sides are at most `most`; of statistics of samples with so many tokens
 * together, of matrices with at most `width` rows and columns, shared and by thread; of histograms. */
uint64_t cpu_product_memory(const struct panels *p, uint64_t most);
uint64_t cpu_grad_stats_memory(const struct panels *p, uint64_t tokens, uint64_t width);
size_t cpu_grad_stats_thread_memory(void);
uint64_t cpu_act_histogram_memory(void);

/* oneDNN, onednn.c. */
/* Limits oneDNN to the tier; CWP_ESTATE when it runs another one in this process already,
 * CWP_EMISSING when it is a build that cannot be held to one thread a call. */
int onednn_open(struct cpu *b, enum tier tier);
int onednn_gemm(const struct gemm *g);

#endif
