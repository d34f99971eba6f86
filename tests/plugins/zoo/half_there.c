/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* A quantizer that wants memory of a device and does nothing there. */
#include <cwp/quantizer.h>

static uint64_t device_memory(const struct cwp_setting *settings, const struct cwp_backend *backend, void *b, uint64_t rows, uint64_t cols)
{
	(void)settings;
	(void)backend;
	(void)b;
	return rows * cols;
}

#define MOCK_ID "zoo"
#define MOCK_DEVICE_MEMORY device_memory
#include "tests/plugins/zoo/mock_quantizer.c"
