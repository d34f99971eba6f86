/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Products whose operands are first copied into panels, in the order in which a register tile of mr rows by nr columns
 * reads them: g = A^T B over k tokens in rising order. A panel of A has mr columns, one of B nr, each for the whole depth;
 * how numbers lie within `step` tokens is the tier's affair. The depth of a panel is a whole number of steps, its columns
 * are whole; what is not there is 0. Panels begin at multiples of 64 bytes where a tier says so, cells of results too. */
#ifndef CPU_PANELS_H
#define CPU_PANELS_H

#include <stddef.h>

enum {
	MOST_MR = 32,
	MOST_NR = 32,
	MOST_STEP = 32,
	PANEL_ALIGN = 64
};

/* [k, n] with row distance ld, or [n, k] when `along`, into panels whose starts are `distance` bytes apart. */
struct pack {
	void *dst;
	size_t distance;
	const float *src;
	size_t ld;
	int along;
	size_t k;
	size_t n;
};

/* Statistics of one register tile, each [mr, nr] without gaps or NULL: sum += g, abs += |g|, sq += g * g. */
struct micro_stats {
	float *sum;
	float *abs;
	float *sq;
};

/* Memory that will be needed soon: every `fetch` tokens one line at a and one at b is fetched into the second-level
 * cache and the pointers advance by their steps, in bytes. Never read, so any address is allowed. */
struct ahead {
	const char *a;
	const char *b;
	size_t step_a;
	size_t step_b;
};

struct panels {
	const char *name; /* of the numbers: "f32", "bf16", "amx", or what stands in for them: "bf16 emulated" */
	unsigned mr;
	unsigned nr;
	unsigned step;  /* divides MOST_STEP */
	unsigned size;  /* bytes of a number in a panel */
	unsigned fetch; /* tokens */

	/* Around a thread's calls of micro and micro_stats; NULL: nothing to do. */
	void (*begin)(void);
	void (*end)(void);

	void (*pack_a)(const struct pack *p);
	void (*pack_b)(const struct pack *p);
	/* g [mr, nr], row distance ld, = (accumulate ? g : 0) + A^T B; k is a whole number of steps. */
	void (*micro)(size_t k, const void *a, const void *b, const struct ahead *next, int accumulate, float *g, size_t ld);
	/* The statistics of (g [mr, nr] without gaps, or 0 when NULL) + A^T B. */
	void (*micro_stats)(size_t k, const void *a, const void *b, const struct ahead *next, const float *g,
		const struct micro_stats *s);
};

#endif
