/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* A backend plugin beside the CPU backend in f32: each call runs on both, and what it leaves in memory is compared.
 *
 * CWP_TEST_BACKEND: what is tested, an id in $CWP_PLUGIN_DIR ("cuda", "cpu") or the path of a plugin; without it "cpu", whose
 * reference is then the same operations in plain C. CWP_TEST_SIZES: tiny, small or large shapes; by default small for a
 * backend in host memory, large for a device. CWP_TEST_PRECISION: f32 or bf16 alone. */
#ifndef TESTS_CUDA_PAIR_H
#define TESTS_CUDA_PAIR_H

#include <stddef.h>
#include <stdint.h>

#include <cwp/backend.h>

#include "engine/plugin/registry.h"
#include "tests/kernels/support.h"

enum pair_kind { PAIR_F32, PAIR_F64, PAIR_BF16, PAIR_F16, PAIR_U32, PAIR_U64 };
enum pair_role { PAIR_IN, PAIR_OUT, PAIR_BOTH };
enum pair_sizes { PAIR_TINY, PAIR_SMALL, PAIR_LARGE };

/* An argument of a call. In device memory it stands between guards, `shift` elements after a 64-byte boundary; OUT begins as
 * NaN, and what the reference leaves so must stay so. */
struct pair_array {
	enum pair_kind kind;
	enum pair_role role;
	size_t n;
	const void *data;      /* IN and BOTH: before the call */
	const void *reference; /* the same for the reference, where it differs (rounded operands); NULL: data */
	double bound;          /* OUT and BOTH: difference allowed relative to the largest; 0: equal */
	size_t shift;
	double unit;           /* what counts as the largest when it is more than that; 0: the largest */
};

struct pair {
	struct cwe_plugin plugin;
	const struct cwp_backend *ops; /* under test */
	void *b;
	struct test_host host;
	void *reference;               /* of cpu_backend */
	struct test_host reference_host;
	int bf16;                      /* products round their operands */
	enum pair_sizes sizes;
};

/* The pair at hand, opened by pair_main before each round of tests. */
extern struct pair pair;

/* p[i] is where array i is. */
typedef int (*pair_call)(const struct cwp_backend *ops, void *b, void *const *p, const void *arg);

/* Runs call on both, twice on the backend under test: equal bytes, guards and inputs untouched, outputs within their bounds.
 * Fails the running test with `what`. */
void pair_check(const char *what, const struct pair_array *a, size_t n, pair_call call, const void *arg);

/* Fails unless the code is `code` and the host was told a text that holds `word`. */
void pair_refused(const char *what, int rc, int code, const char *word);

/* n numbers of about a normal distribution; freed with free(). Quicker than test_normal. */
float *pair_normal(uint64_t *seed, size_t n, float scale);
/* A copy of x with each number rounded to BF16 where the backend under test rounds operands of products, else as it is. */
float *pair_rounded(const float *x, size_t n);
/* What a product of k terms may differ by, relative to its largest, operands being equal: f32 sums in another order, and on
 * tensor cores sums that are cut off rather than rounded after every 16 terms. */
double pair_product_bound(size_t k);

/* Opens the pair for each precision of the backend under test (or the first alone), runs the group, and returns the exit
 * code: 77 with a word when the plugin or a device is absent. */
int pair_main(int (*group)(void), int all_precisions);

#endif
