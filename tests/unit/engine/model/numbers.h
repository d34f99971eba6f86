/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* What a run gave, one after another, for comparing runs byte by byte. */
#pragma once

#include "engine/calibrate/statistics.h"

struct numbers {
	char *data; /* freed with free() */
	size_t count;
};

void numbers_keep(struct numbers *n, const void *data, size_t bytes);
/* A module's statistics, and which of them there are. As a calibration calls it; arg is a struct numbers. */
int numbers_keep_module(void *arg, uint32_t layer, uint32_t set, uint32_t linear, const struct cwe_module_statistics *s,
	struct cwb_err *err);
