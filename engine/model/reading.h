/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Rows of a file that several threads read and look at while one sends them on, in their order. */
#pragma once

#include <stdint.h>

#include "base/err.h"

#define CWE_READERS 8 /* threads at most; each has two steps of memory */

struct cwe_reading {
	uint64_t first, rows;
	uint64_t step;      /* rows at a time, at least 1 */
	uint64_t row_bytes; /* of memory for a row */
	uint32_t threads;   /* that may read */
	void *arg;
	/* Reads rows [row, row + n) into raw. Threads call it at the same time. */
	int (*fill)(void *arg, uint64_t row, uint64_t n, void *raw, struct cwb_err *err);
	/* Takes them, in rising order, from the thread that called cwe_reading_run. */
	int (*use)(void *arg, uint64_t row, uint64_t n, const void *raw, struct cwb_err *err);
};

/* Ends with the first error in the order of the rows. -ENOMEM: there is no memory for one step. */
int cwe_reading_run(const struct cwe_reading *reading, struct cwb_err *err);
