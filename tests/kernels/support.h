/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* What the tests of the CPU backend share: a host with real threads, random numbers, comparisons,
 * one run a tier. */
#ifndef TESTS_KERNELS_SUPPORT_H
#define TESTS_KERNELS_SUPPORT_H

#include <stddef.h>
#include <stdint.h>

#include <cwp/backend.h>

#include "plugins/backends/cpu/cpu.h"

struct test_host {
	struct cwp_host table;
	char failure[512]; /* the last text given to fail() */
};

void test_host_init(struct test_host *h, uint32_t threads);

/* Opens the backend under test or fails the running test. */
void *test_open(struct test_host *h, uint32_t threads);
/* The same with "f32", "bf16", or TEST_PLAIN_TILES: bf16 by the panels of AMX, which test_has_plain_tiles() must allow. */
#define TEST_PLAIN_TILES "bf16 on plain tiles"
int test_has_plain_tiles(void);
void *test_open_precision(struct test_host *h, uint32_t threads, const char *precision);

/* A fixed stream of numbers; the same in every run. */
uint64_t test_random(uint64_t *state);
float test_uniform(uint64_t *state, float low, float high);
/* n numbers of a normal distribution, 64-byte aligned; freed with free(). */
float *test_normal(uint64_t *state, size_t n, float scale);
/* n zeros, or n times the value. */
float *test_filled(size_t n, float value);

/* Fails the test unless |got - want| <= tolerance * (1 + |want|) for all, naming what and the first
 * place. */
void test_close(const char *what, const float *got, const double *want, size_t n, double tolerance);
/* The same with every difference measured against the largest |want|. */
void test_close_scaled(
	const char *what, const float *got, const double *want, size_t n, double tolerance);

/* Runs the tests once for each tier that this machine has, each in a process of its own (oneDNN
 * keeps its instruction set for the life of a process), with CWP_CPU set; only for CWP_CPU's tier
 * when it is set already. Returns the number of processes that failed. */
int test_each_tier(int (*group)(void));

#endif
