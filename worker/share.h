/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* The processors that are this process's alone. */
#pragma once

#include <sched.h>

/* Confines this thread, and those that it starts from now on, to the processors. Where these are of several NUMA nodes, memory
 * is taken from all of those in turn: weights and activations are read by all threads. 0, or -1 after a warning on standard
 * error when the system does not give all of them: nothing is changed then. Before any other thread starts. */
int cwk_share_take(const cpu_set_t *cpus);
