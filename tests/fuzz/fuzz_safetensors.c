/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Any bytes as a safetensors file: it is refused with a reason, or every tensor of it can be read. */
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "engine/format/safetensors.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct cwe_safetensors *s = NULL;
	struct cwb_err err = {0};
	int fd = memfd_create("fuzz", MFD_CLOEXEC), rc;
	uint64_t total = 0;

	if (fd < 0 || write(fd, data, size) != (ssize_t)size)
		abort();
	rc = cwe_safetensors_adopt(fd, "fuzz", &s, &err);
	if (rc) {
		if (rc > 0 || rc != err.code || !err.message[0])
			abort();
		return 0;
	}
	for (size_t i = 0; i < s->count; i++) {
		const struct cwe_safetensors_entry *e = &s->entries[i];
		uint8_t *bytes = malloc(e->bytes + 1);

		if (!bytes || cwe_safetensors_find(s, e->name) != e || cwe_safetensors_read(s, e, 0, bytes, e->bytes, &err))
			abort();
		total += e->bytes;
		free(bytes);
	}
	if (total > size)
		abort();
	cwe_safetensors_close(s);
	return 0;
}
