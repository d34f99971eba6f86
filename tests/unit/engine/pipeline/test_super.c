/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* The rule of super weights, on statistics made by hand: all of its conditions are needed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "engine/calibrate/super.h"

#define ROWS 24
#define COLS 40
#define TOKENS 16

struct world {
	float weight[ROWS * COLS];
	double act_sq[COLS];
	float act_absmax[COLS];
	struct cwe_module_statistics s;
};

/* Weights of size 0.5 to 1 and inputs of size 1. */
static void begin(struct world *w)
{
	for (int i = 0; i < ROWS * COLS; i++) {
		float size = 0.5f + (float)(i * 7 % 11) / 20;
		w->weight[i] = i % 3 == 0 ? -size : size;
	}
	for (int k = 0; k < COLS; k++) {
		w->act_sq[k] = TOKENS * 0.25;
		w->act_absmax[k] = 1.0f + (float)(k % 5) / 10;
	}
	w->s = (struct cwe_module_statistics){.rows = ROWS, .cols = COLS, .samples = 2, .tokens = TOKENS, .weight = w->weight,
		.act_sq = w->act_sq, .act_absmax = w->act_absmax};
}

/* An input of this size, at one token. */
static void spike(struct world *w, int col, float size)
{
	w->act_absmax[col] = size;
	w->act_sq[col] = (double)size * (double)size;
}

static size_t judge(struct world *w, struct cwe_super_list *list)
{
	free(list->item);
	memset(list, 0, sizeof *list);
	assert_int_equal(cwe_super_judge(&w->s, 3, 6, list), 0);
	return list->count;
}

static void every_condition_is_needed(void **state)
{
	struct world w;
	struct cwe_super_list list = {0};
	(void)state;
	begin(&w);
	assert_int_equal(judge(&w, &list), 0);
	spike(&w, 17, 500);
	assert_int_equal(judge(&w, &list), 0); /* no weight stands out in its column */
	begin(&w);
	w.weight[5 * COLS + 17] = -40;
	assert_int_equal(judge(&w, &list), 0); /* no input stands out */
	spike(&w, 17, 500);
	assert_int_equal(judge(&w, &list), 1);
	assert_int_equal(list.item[0].layer, 3);
	assert_int_equal(list.item[0].linear, 6);
	assert_int_equal(list.item[0].row, 5);
	assert_int_equal(list.item[0].col, 17);
	spike(&w, 17, 40);
	assert_int_equal(judge(&w, &list), 0); /* 40 is less than 50 times the median of 1.2 */
	begin(&w);
	w.weight[5 * COLS + 17] = -40;
	spike(&w, 17, 70);
	for (int k = 0; k < COLS; k++) {
		w.act_sq[k] = k == 17 ? w.act_sq[k] : TOKENS * 900.0;
	}
	assert_int_equal(judge(&w, &list), 0); /* the output has such sizes anyway */
	free(list.item);
}

static void several_are_sorted(void **state)
{
	struct world w;
	struct cwe_super_list list = {0};
	(void)state;
	begin(&w);
	w.weight[20 * COLS + 3] = 50;
	w.weight[2 * COLS + 30] = -45;
	w.weight[2 * COLS + 3] = 30;
	w.weight[7 * COLS + 3] = 10.5f; /* less than a quarter of the largest product */
	spike(&w, 3, 400);
	spike(&w, 30, 300);
	assert_int_equal(judge(&w, &list), 3);
	assert_int_equal(list.item[0].row, 2);
	assert_int_equal(list.item[0].col, 3);
	assert_int_equal(list.item[1].row, 2);
	assert_int_equal(list.item[1].col, 30);
	assert_int_equal(list.item[2].row, 20);
	free(list.item);
}

static void nothing_of_nothing(void **state)
{
	struct world w;
	struct cwe_super_list list = {0};
	(void)state;
	begin(&w);
	w.s.tokens = 0;
	w.weight[5 * COLS + 17] = -40;
	spike(&w, 17, 500);
	assert_int_equal(judge(&w, &list), 0); /* an expert that no token came to */
	begin(&w);
	memset(w.act_absmax, 0, sizeof w.act_absmax);
	memset(w.act_sq, 0, sizeof w.act_sq);
	assert_int_equal(judge(&w, &list), 0);
	memset(w.weight, 0, sizeof w.weight);
	spike(&w, 17, 500);
	assert_int_equal(judge(&w, &list), 0);
	free(list.item);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(every_condition_is_needed), cmocka_unit_test(several_are_sorted),
		cmocka_unit_test(nothing_of_nothing)};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
