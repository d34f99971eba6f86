/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Rows of files that several threads read, look at and send on: each takes the next step, whoever is first. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

#define CWE_READERS 16 /* threads at most; each has a step of memory */

/* Rows one behind the other, in steps. */
struct cwe_reading_part {
	uint64_t first, rows;
	uint64_t step;      /* rows at a time, at least 1 */
	uint64_t row_bytes; /* of memory for a row */
	void *arg;
};

struct cwe_reading {
	const struct cwe_reading_part *part;
	size_t parts;
	uint32_t threads; /* that may read, the caller's included */
	/* Reads rows [row, row + n) of a part and brings them to where they belong; raw has room for them. Threads call it at the
	 * same time, in any order. */
	int (*run)(void *arg, uint64_t row, uint64_t n, void *raw, struct cwb_err *err);
};

/* Ends with the first error in the order of parts and rows, whoever is first; nothing is begun behind one. -ENOMEM: there is no
 * memory for one step. */
int cwe_reading_run(const struct cwe_reading *reading, struct cwb_err *err);
