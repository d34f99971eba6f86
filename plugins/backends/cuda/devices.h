/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Which of the machine's devices a job means. No call of CUDA: the caller says what there is. */
#ifndef CUDA_DEVICES_H
#define CUDA_DEVICES_H

#include <stddef.h>
#include <stdint.h>

enum {
	CUDA_UUID_TEXT = 41,       /* "GPU-" and 36 characters, as nvidia-smi prints it */
	CUDA_LEAST_CAPABILITY = 80 /* BF16 on tensor cores */
};

enum cuda_mode { CUDA_SHARED, CUDA_EXCLUSIVE, CUDA_PROHIBITED };

struct cuda_device_entry {
	char uuid[CUDA_UUID_TEXT];
	char name[64];
	int capability; /* 90: 9.0 */
	uint64_t total; /* bytes of memory */
	enum cuda_mode mode;
};

void cuda_uuid_text(const unsigned char uuid[16], char ret[CUDA_UUID_TEXT]);
/* 0 when work can run there; else CWP_EMISSING, and why with the remedy in text. */
int cuda_device_usable(const struct cuda_device_entry *d, size_t index, char *text, size_t size);
/* The device that `want` names: NULL the first usable one; a UUID, or its beginning where no other one begins so; or digits,
 * a number from 0 on. Else CWP_EMISSING, and why in text. */
int cuda_device_choose(const struct cuda_device_entry *d, size_t n, const char *want, size_t *ret, char *text, size_t size);

#endif
