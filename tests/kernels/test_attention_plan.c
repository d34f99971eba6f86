/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* How the CUDA backend cuts attention, without a GPU: every row of every head is in one block of one piece, prefixes are counted
 * once, pieces stay within their budget or cannot be smaller. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <cwp/backend.h>

#include "plugins/backends/cuda/attention_plan.h"

enum { KV_HEADS = 5, MOST = 700 };

static const uint64_t starts[] = {0, 0, 1, 1, 65, 193, 450, 450, 700};
static const uint64_t count = sizeof(starts) / sizeof(starts[0]) - 1;

static struct cwp_attention attention(void)
{
	return (struct cwp_attention){.size = sizeof(struct cwp_attention), .heads = KV_HEADS * 2, .kv_heads = KV_HEADS, .head_dim = 64,
		.scale = 1.0F, .sequences = {count, starts}};
}

static void test_blocks(void **state)
{
	(void)state;
	struct cwp_attention a = attention();
	struct attention_plan p;
	assert_int_equal(attention_plan_init(&p, &a, 64), 0);
	assert_int_equal(p.n_blocks, 1 + 1 + 2 + 5 + 4);
	assert_int_equal(p.longest, 257);
	size_t n = 0;
	for (uint64_t i = 0; i < count; i++) {
		assert_int_equal(p.first[i], n);
		uint64_t length = starts[i + 1] - starts[i];
		for (uint64_t k = (length + 63) / 64; k > 0; k--, n++) {
			const struct attention_block want = {.start = (uint32_t)starts[i], .length = (uint32_t)length,
				.first = (uint32_t)(k - 1) * 64};
			assert_memory_equal(&p.blocks[n], &want, sizeof(want));
		}
	}
	assert_int_equal(p.first[count], n);
	assert_int_equal(p.n_blocks, n);
	attention_plan_done(&p);
}

static void test_prefixes(void **state)
{
	(void)state;
	static const uint64_t range[] = {0, 0, 0, 0, 1, 4, 4, 4, 4}, first[] = {0, 0, 1, 3}, length[] = {1, 1, 0, 60};
	const struct cwp_prefixes prefixes = {range, first, length};
	struct cwp_attention a = attention();
	a.prefixes = &prefixes;
	struct attention_plan p;
	assert_int_equal(attention_plan_init(&p, &a, 128), 0);
	static const struct attention_range want[] = {{0, 0, 1}, {0, 0, 1}, {1, 3, 60}};
	assert_int_equal(p.n_ranges, 3);
	assert_memory_equal(p.ranges, want, sizeof(want));
	static const struct attention_block fourth = {1, 64, 0, 1, 0, 1}, fifth = {65, 128, 0, 61, 1, 2}, sixth = {193, 257, 256, 0, 3, 0};
	assert_memory_equal(&p.blocks[p.first[3]], &fourth, sizeof(fourth));
	assert_memory_equal(&p.blocks[p.first[4]], &fifth, sizeof(fifth));
	assert_memory_equal(&p.blocks[p.first[5]], &sixth, sizeof(sixth));
	/* Keys of prefixes lie anywhere before: a piece has all rows, and as many heads as fit. */
	struct attention_piece piece = {0};
	uint32_t heads = 0;
	while (attention_plan_next(&p, 10, UINT64_C(700) * 10 * 2, &piece)) {
		assert_int_equal(piece.row, 0);
		assert_int_equal(piece.rows, 700);
		assert_int_equal(piece.kv, heads);
		assert_in_range(piece.kv_count, 1, 2);
		heads += piece.kv_count;
	}
	assert_int_equal(heads, KV_HEADS);
	attention_plan_done(&p);
}

/* Pieces within the budget; *ret_pieces of them. */
static void check_pieces(uint64_t each, uint64_t budget, size_t *ret_pieces)
{
	struct cwp_attention a = attention();
	struct attention_plan p;
	struct attention_piece piece = {0};
	unsigned char seen[MOST][KV_HEADS] = {{0}};
	assert_int_equal(attention_plan_init(&p, &a, 64), 0);
	*ret_pieces = 0;
	while (attention_plan_next(&p, each, budget, &piece)) {
		assert_int_equal(piece.row, starts[piece.sequence]);
		assert_int_equal(piece.row + piece.rows, starts[piece.sequence_end]);
		assert_true(piece.rows > 0);
		if (each * piece.rows * piece.kv_count > budget) {
			assert_int_equal(piece.kv_count, 1);
			assert_int_equal(piece.rows, starts[piece.sequence + 1] - starts[piece.sequence]);
		}
		for (uint32_t row = piece.row; row < piece.row + piece.rows; row++) {
			for (uint32_t kv = piece.kv; kv < piece.kv + piece.kv_count; kv++) {
				assert_int_equal(seen[row][kv]++, 0);
			}
		}
		++*ret_pieces;
	}
	for (size_t i = 0; i < sizeof(seen); i++) {
		assert_int_equal(seen[i / KV_HEADS][i % KV_HEADS], 1);
	}
	attention_plan_done(&p);
}

static void test_pieces(void **state)
{
	(void)state;
	size_t pieces = 0;
	check_pieces(0, 0, &pieces);
	assert_int_equal(pieces, 1);
	check_pieces(100, UINT64_C(100) * KV_HEADS * 700, &pieces);
	assert_int_equal(pieces, 1);
	check_pieces(100, UINT64_C(100) * KV_HEADS * 260, &pieces);
	assert_int_equal(pieces, 3);
	check_pieces(100, UINT64_C(100) * 2 * 257, &pieces);
	assert_true(pieces > 3);
	check_pieces(100, 1, &pieces);
	assert_int_equal(pieces, 5 * KV_HEADS);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_blocks),
		cmocka_unit_test(test_prefixes),
		cmocka_unit_test(test_pieces),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
