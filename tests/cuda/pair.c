/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Running one call on two backends and comparing what it leaves. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/cuda/pair.h"

enum { GUARD = 256, MOST_ARRAYS = 16 };

static const uint32_t POISON = 0x7FC0DEAD, GUARD_WORD = 0xA5C3E1F7;

static size_t element(enum pair_kind kind)
{
	static const size_t size[] = {4, 8, 2, 2, 4, 8};
	return size[kind];
}

/* One array in device memory, and what the host has of it. */
struct held {
	const struct pair_array *a;
	char *d_block;  /* guard, array, guard */
	char *before;   /* the whole block as it was uploaded */
	char *after;    /* and as the last call left it */
	char *first;    /* and the one before */
	size_t at;      /* of the array in the block */
	size_t bytes;   /* of the array */
	size_t block;
	void *want;     /* of the reference */
};

static void *memory(size_t bytes)
{
	void *p = aligned_alloc(64, (bytes + 127) & ~(size_t)63);
	assert_non_null(p);
	return p;
}

static void fill(char *p, size_t bytes, uint32_t word)
{
	for (size_t i = 0; i < bytes; i += sizeof(word)) {
		memcpy(p + i, &word, bytes - i < sizeof(word) ? bytes - i : sizeof(word));
	}
}

static void prepare(struct held *h, const struct pair_array *a)
{
	const void *reference = a->reference ? a->reference : a->data;
	h->a = a;
	h->bytes = a->n * element(a->kind);
	h->at = GUARD + a->shift * element(a->kind);
	h->block = h->at + h->bytes + GUARD;
	h->before = memory(h->block);
	h->after = memory(h->block);
	h->first = memory(h->block);
	h->want = memory(h->bytes);
	fill(h->before, h->block, GUARD_WORD);
	fill(h->before + h->at, h->bytes, POISON);
	memcpy(h->want, h->before + h->at, h->bytes);
	if (a->role != PAIR_OUT && h->bytes) {
		memcpy(h->before + h->at, a->data, h->bytes);
		memcpy(h->want, reference, h->bytes);
	}
	h->d_block = pair.ops->alloc(pair.b, h->block);
	assert_non_null(h->d_block);
}

static void release(struct held *h)
{
	pair.ops->free(pair.b, h->d_block);
	free(h->before);
	free(h->after);
	free(h->first);
	free(h->want);
}

static double number(enum pair_kind kind, const void *p, size_t i)
{
	float f;
	uint32_t u;
	switch (kind) {
	case PAIR_F32:
		return (double)((const float *)p)[i];
	case PAIR_F64:
		return ((const double *)p)[i];
	case PAIR_F16:
		assert_int_equal(cpu_backend.convert(pair.reference, &f, (const uint16_t *)p + i, CWP_F16, 1), 0);
		return (double)f;
	case PAIR_BF16:
		u = (uint32_t)((const uint16_t *)p)[i] << 16;
		memcpy(&f, &u, sizeof(f));
		return (double)f;
	default:
		return 0.0;
	}
}

static int poisoned(enum pair_kind kind, const void *p, size_t i)
{
	char word[8];
	size_t size = element(kind);
	fill(word, sizeof(word), POISON);
	return memcmp((const char *)p + i * size, word + i * size % 4, size) == 0;
}

/* Equal numbers: a NaN equals any other that was not left from before the call, zeros have no sign. */
static int same(enum pair_kind kind, const void *got, const void *want, size_t i)
{
	size_t size = element(kind);
	if (memcmp((const char *)got + i * size, (const char *)want + i * size, size) == 0) {
		return 1;
	}
	if (kind == PAIR_U32 || kind == PAIR_U64 || poisoned(kind, want, i) || poisoned(kind, got, i)) {
		return 0;
	}
	double g = number(kind, got, i), w = number(kind, want, i);
	return (isnan(g) && isnan(w)) || (g == w && (kind == PAIR_F32 || kind == PAIR_F64));
}

static void compare(const char *what, size_t index, const struct held *h)
{
	const struct pair_array *a = h->a;
	const void *got = h->after + h->at;
	double largest = a->unit;
	if (memcmp(got, h->want, h->bytes) == 0) {
		return;
	}
	void *aligned = memory(h->bytes);
	memcpy(aligned, got, h->bytes);
	for (size_t i = 0; a->bound > 0.0 && i < a->n; i++) {
		double w = fabs(number(a->kind, h->want, i));
		largest = isfinite(w) && w > largest ? w : largest;
	}
	size_t wrong = 0, place = 0;
	double worst = 0.0;
	for (size_t i = 0; i < a->n; i++) {
		double g = number(a->kind, aligned, i), w = number(a->kind, h->want, i);
		double d = fabs(g - w) / (largest > 0.0 ? largest : 1e-30);
		if (same(a->kind, aligned, h->want, i) || (a->bound > 0.0 && d <= a->bound)) {
			continue;
		}
		place = wrong++ == 0 ? i : place;
		worst = d > worst || isnan(d) ? d : worst;
	}
	if (wrong > 0) {
		unsigned long long bits[2] = {0, 0};
		memcpy(&bits[0], (char *)aligned + place * element(a->kind), element(a->kind));
		memcpy(&bits[1], (char *)h->want + place * element(a->kind), element(a->kind));
		fail_msg("%s (%s): argument %zu: %zu of %zu elements differ by up to %.3g of the largest, %.3g, allowed are %.3g; "
			"the first is %zu: %.9g (%llx), want %.9g (%llx)",
			what, pair.bf16 ? "bf16" : "f32", index, wrong, a->n, worst, largest, a->bound, place,
			number(a->kind, aligned, place), bits[0], number(a->kind, h->want, place), bits[1]);
	}
	free(aligned);
}

static void unchanged(const char *what, size_t index, const struct held *h, size_t from, size_t end)
{
	if (memcmp(h->after + from, h->before + from, end - from) == 0) {
		return;
	}
	while (h->after[from] == h->before[from]) {
		from++;
	}
	fail_msg("%s: argument %zu: byte %lld of %zu was written", what, index, (long long)from - (long long)h->at, h->bytes);
}

/* What no call may touch: guards, and arrays that are only read. */
static void untouched(const char *what, size_t index, const struct held *h)
{
	unchanged(what, index, h, 0, h->at);
	unchanged(what, index, h, h->at + h->bytes, h->block);
	if (h->a->role == PAIR_IN) {
		unchanged(what, index, h, h->at, h->at + h->bytes);
	}
}

static void run(const char *what, struct held *held, size_t n, pair_call call, const void *arg)
{
	void *p[MOST_ARRAYS];
	for (size_t i = 0; i < n; i++) {
		assert_int_equal(pair.ops->upload(pair.b, held[i].d_block, held[i].before, held[i].block), 0);
		p[i] = held[i].d_block + held[i].at;
	}
	pair.host.failure[0] = '\0';
	int rc = call(pair.ops, pair.b, p, arg);
	rc = rc ? rc : pair.ops->sync(pair.b);
	if (rc) {
		fail_msg("%s (%s): code %d: %s", what, pair.bf16 ? "bf16" : "f32", rc, pair.host.failure);
	}
	for (size_t i = 0; i < n; i++) {
		assert_int_equal(pair.ops->download(pair.b, held[i].after, held[i].d_block, held[i].block), 0);
		untouched(what, i, &held[i]);
	}
}

static void run_reference(const char *what, struct held *held, size_t n, pair_call call, const void *arg)
{
	void *p[MOST_ARRAYS];
	for (size_t i = 0; i < n; i++) {
		p[i] = held[i].want;
	}
	int rc = call(&cpu_backend, pair.reference, p, arg);
	if (rc) {
		fail_msg("%s: the reference: code %d: %s", what, rc, pair.reference_host.failure);
	}
}

void pair_check(const char *what, const struct pair_array *a, size_t n, pair_call call, const void *arg)
{
	struct held held[MOST_ARRAYS];
	assert_true(n <= MOST_ARRAYS);
	memset(held, 0, sizeof(held));
	for (size_t i = 0; i < n; i++) {
		prepare(&held[i], &a[i]);
	}
	run_reference(what, held, n, call, arg);
	run(what, held, n, call, arg);
	for (size_t i = 0; i < n; i++) {
		char *swap = held[i].first;
		if (a[i].role != PAIR_IN) {
			compare(what, i, &held[i]);
		}
		held[i].first = held[i].after;
		held[i].after = swap;
	}
	run(what, held, n, call, arg);
	for (size_t i = 0; i < n; i++) {
		if (memcmp(held[i].first, held[i].after, held[i].block) != 0) {
			fail_msg("%s: argument %zu: two equal calls gave different bytes", what, i);
		}
		release(&held[i]);
	}
}

void pair_refused(const char *what, int rc, int code, const char *word)
{
	if (rc != code || !strstr(pair.host.failure, word)) {
		fail_msg("%s: code %d, text \"%s\": want %d and \"%s\"", what, rc, pair.host.failure, code, word);
	}
	pair.host.failure[0] = '\0';
}
