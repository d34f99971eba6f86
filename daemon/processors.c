/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Shares of the processors. */
#include "daemon/processors.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/cpus.h"

struct view {
	const struct cwd_processors *all;
	cpu_set_t used;             /* by others and, so far, by this share */
	cpu_set_t share;
	uint16_t busy[CPU_SETSIZE]; /* of a core: processors in use */
	uint16_t own[CPU_SETSIZE];  /* of these: the share's */
	uint16_t free[CPU_SETSIZE]; /* of a node: processors */
	uint16_t idle[CPU_SETSIZE]; /* of a node: cores of which none is in use */
};

static unsigned find_core(const char *root, unsigned cpu)
{
	cpu_set_t siblings;
	char *path;
	unsigned core = cpu, i;

	if (asprintf(&path, "%s/cpu/cpu%u/topology/thread_siblings_list", root, cpu) < 0) {
		return cpu;
	}
	/* A list without the processor itself is not one of its core. */
	if (cwb_cpus_read(path, &siblings) == 0 && CPU_ISSET(cpu, &siblings)) {
		for (i = 0; !CPU_ISSET(i, &siblings); i++) {
		}
		core = i;
	}
	free(path);
	return core;
}

void cwd_processors_describe(const char *root, const cpu_set_t *allowed, struct cwd_processors *ret)
{
	uint16_t node[CPU_SETSIZE];
	unsigned i;

	cwb_cpus_nodes(root, node);
	ret->n = 0;
	for (i = 0; i < CPU_SETSIZE; i++) {
		if (CPU_ISSET(i, allowed)) {
			ret->p[ret->n++] = (struct cwd_processor){.cpu = (uint16_t)i,
				.node = node[i],
				.core = (uint16_t)find_core(root, i)};
		}
	}
}

static void keep(struct cwd_processors *all, const cpu_set_t *kept)
{
	size_t i, n = 0;

	for (i = 0; i < all->n; i++) {
		if (CPU_ISSET(all->p[i].cpu, kept)) {
			all->p[n++] = all->p[i];
		}
	}
	all->n = n;
}

void cwd_processors_find(uint32_t threads, struct cwd_processors *ret)
{
	cpu_set_t allowed, none, kept;

	CPU_ZERO(&none);
	ret->n = 0;
	if (sched_getaffinity(0, sizeof allowed, &allowed) != 0) {
		return;
	}
	cwd_processors_describe(CWB_CPUS_ROOT, &allowed, ret);
	if (cwd_processors_choose(ret, &none, threads, &kept) != 0) {
		CPU_ZERO(&kept);
	}
	keep(ret, &kept);
}

static void count(struct view *v)
{
	uint8_t seen[CPU_SETSIZE] = {0};
	size_t i;

	for (i = 0; i < CPU_SETSIZE; i++) {
		v->busy[i] = v->own[i] = v->free[i] = v->idle[i] = 0;
	}
	for (i = 0; i < v->all->n; i++) {
		const struct cwd_processor *p = &v->all->p[i];

		if (CPU_ISSET(p->cpu, &v->used)) {
			v->busy[p->core]++;
		} else {
			v->free[p->node]++;
		}
		if (CPU_ISSET(p->cpu, &v->share)) {
			v->own[p->core]++;
		}
	}
	for (i = 0; i < v->all->n; i++) {
		const struct cwd_processor *p = &v->all->p[i];

		if (v->busy[p->core] == 0 && !seen[p->core]) {
			seen[p->core] = 1;
			v->idle[p->node]++;
		}
	}
}

/* Whether node a serves n threads better than b. */
static int is_better(const struct view *v, unsigned a, unsigned b, size_t n)
{
	size_t cores_a = v->idle[a] < n ? v->idle[a] : n, cores_b = v->idle[b] < n ? v->idle[b] : n;
	int fits_a = v->free[a] >= n, fits_b = v->free[b] >= n;

	if (fits_a != fits_b) {
		return fits_a;
	}
	if (!fits_a) {
		return v->free[a] > v->free[b];
	}
	return cores_a != cores_b ? cores_a > cores_b : v->free[a] < v->free[b];
}

static unsigned best_node(const struct view *v, size_t n)
{
	unsigned node, best = CPU_SETSIZE;

	for (node = 0; node < CPU_SETSIZE; node++) {
		if (v->free[node] > 0 && (best == CPU_SETSIZE || is_better(v, node, best, n))) {
			best = node;
		}
	}
	return best;
}

/* The processor of a node whose core has least to do; of such ones not a sibling of the share's own. */
static const struct cwd_processor *best_processor(const struct view *v, unsigned node)
{
	const struct cwd_processor *best = NULL;
	size_t i;

	for (i = 0; i < v->all->n; i++) {
		const struct cwd_processor *p = &v->all->p[i];

		if (p->node != node || CPU_ISSET(p->cpu, &v->used)) {
			continue;
		}
		if (best == NULL || v->busy[p->core] < v->busy[best->core] ||
			(v->busy[p->core] == v->busy[best->core] && v->own[p->core] < v->own[best->core])) {
			best = p;
		}
	}
	return best;
}

int cwd_processors_choose(const struct cwd_processors *all, const cpu_set_t *taken, size_t n, cpu_set_t *ret)
{
	struct view v = {.all = all, .used = *taken};

	while (n > 0) {
		const struct cwd_processor *p;
		unsigned node, left;

		count(&v);
		node = best_node(&v, n);
		if (node == CPU_SETSIZE) {
			return -1;
		}
		for (left = v.free[node]; n > 0 && left > 0 && (p = best_processor(&v, node)) != NULL; left--, n--) {
			CPU_SET(p->cpu, &v.used);
			CPU_SET(p->cpu, &v.share);
			v.busy[p->core]++;
			v.own[p->core]++;
		}
	}
	*ret = v.share;
	return 0;
}
