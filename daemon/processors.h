/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Which processors a job's threads get. Beside the two functions that look at the machine, pure. */
#pragma once

#include <sched.h>
#include <stddef.h>
#include <stdint.h>

struct cwd_processor {
	uint16_t cpu;
	uint16_t node;
	uint16_t core; /* the lowest number of those that are one core with it */
};

/* Those that jobs may have, in ascending order. */
struct cwd_processors {
	size_t n; /* 0: they are not divided */
	struct cwd_processor p[CPU_SETSIZE];
};

/* Nodes and cores of the processors in `allowed`, from files below `root` (base/cpus.h). What is not told there: one node, each
 * processor a core of its own. */
void cwd_processors_describe(const char *root, const cpu_set_t *allowed, struct cwd_processors *ret);

/* Those of this process, no more of them than threads. Where there are fewer, ret->n is 0: jobs then share all of them. */
void cwd_processors_find(uint32_t threads, struct cwd_processors *ret);

/* n processors that are not taken: on as few nodes as possible, there on idle cores before those of which a part is in use,
 * and of nodes that do equally well on the fullest. 0, or -1 when fewer are free. */
int cwd_processors_choose(const struct cwd_processors *all, const cpu_set_t *taken, size_t n, cpu_set_t *ret);
