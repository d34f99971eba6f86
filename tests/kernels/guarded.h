/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Arrays between two pages without access: a byte touched outside of one ends the test. */
#ifndef TESTS_KERNELS_GUARDED_H
#define TESTS_KERNELS_GUARDED_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

struct guarded {
	char *map;
	size_t size;
	size_t bytes; /* at p */
	void *p;
};

/* `bytes` of zeros that end, or begin, at a page without access. */
static inline struct guarded guarded_new(size_t bytes, int at_end)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE), inner = (bytes + page - 1) / page * page;
	struct guarded g = {.size = inner + 2 * page, .bytes = bytes};
	g.map = mmap(NULL, g.size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	assert_true(g.map != MAP_FAILED);
	assert_int_equal(mprotect(g.map, page, PROT_NONE), 0);
	assert_int_equal(mprotect(g.map + page + inner, page, PROT_NONE), 0);
	g.p = g.map + page + (at_end ? inner - bytes : 0);
	return g;
}

static inline void guarded_free(struct guarded *g)
{
	assert_int_equal(munmap(g->map, g->size), 0);
}

#endif
