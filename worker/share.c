/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Processors, and where memory comes from. */
#include "worker/share.h"

#include <limits.h>
#include <linux/mempolicy.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/cpus.h"

#define WORD_BITS (sizeof(unsigned long) * CHAR_BIT)

/* Memory of one node is near by itself: who touches a page first gets it from its own node. A system without nodes, or one that
 * does not allow this, does as it always does. */
static void spread_memory(const cpu_set_t *cpus)
{
	unsigned long mask[CPU_SETSIZE / WORD_BITS] = {0};
	uint16_t node[CPU_SETSIZE];
	cpu_set_t nodes;

	cwb_cpus_nodes(CWB_CPUS_ROOT, node);
	CPU_ZERO(&nodes);
	for (int i = 0; i < CPU_SETSIZE; i++) {
		if (CPU_ISSET(i, cpus)) {
			CPU_SET(node[i], &nodes);
			mask[node[i] / WORD_BITS] |= 1UL << (node[i] % WORD_BITS);
		}
	}
	if (CPU_COUNT(&nodes) > 1) {
		/* The kernel takes one bit less than it is told. */
		(void)syscall(SYS_set_mempolicy, MPOL_INTERLEAVE, mask, CPU_SETSIZE + 1UL);
	}
}

int cwk_share_take(const cpu_set_t *cpus)
{
	cpu_set_t before, now;
	char text[CWB_CPUS_TEXT];
	int had = sched_getaffinity(0, sizeof before, &before) == 0;

	/* Of a set that it allows in part the kernel gives that part. */
	if (sched_setaffinity(0, sizeof *cpus, cpus) == 0 && sched_getaffinity(0, sizeof now, &now) == 0 && CPU_EQUAL(&now, cpus)) {
		spread_memory(cpus);
		return 0;
	}
	if (had) {
		(void)sched_setaffinity(0, sizeof before, &before); /* then it stays with the part */
	}
	cwb_cpus_print(cpus, text);
	(void)fprintf(stderr,
		"cwp-worker: warning: the system does not give this process the processors %s: threads run where it lets them\n", text);
	return -1;
}
