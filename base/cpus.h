/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Sets of processors in the list syntax of Linux ("0-7,16-23"), and the NUMA node of each. A number is less than CPU_SETSIZE.
 * All functions may be called from any thread. */
#pragma once

#include <sched.h>
#include <stdint.h>

#include "base/err.h"

/* Where Linux describes processors and nodes. */
#define CWB_CPUS_ROOT "/sys/devices/system"
/* The longest list, every second number, and its NUL byte fit. */
#define CWB_CPUS_TEXT 3072

/* Numbers and ranges, separated by commas, in any order. CWP_EVALUE: not of this form, nothing at all, or a number that is too
 * large. *ret is written only on success. */
int cwb_cpus_parse(const char *text, cpu_set_t *ret, struct cwb_err *err);

/* The shortest list, in ascending order; "" for none. */
void cwb_cpus_print(const cpu_set_t *cpus, char ret[CWB_CPUS_TEXT]);

/* A list as the system's files have it, on one line; an empty line is the empty set. CWP_EVALUE as above, or that of reading. */
int cwb_cpus_read(const char *path, cpu_set_t *ret);

/* The node of each processor, from <root>/node/node<N>/cpulist. Files that are absent or not lists count for nothing; a
 * processor that is in none is in node 0, one that is in several in the first of them. */
void cwb_cpus_nodes(const char *root, uint16_t ret_node[CPU_SETSIZE]);
