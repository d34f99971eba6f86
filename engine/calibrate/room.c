/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Mapped memory. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include "engine/calibrate/room.h"

/* Pages of the usual size: large ones took four times as long where memory was in pieces (doc/performance.md). */
int cwe_room_new(uint64_t bytes, struct cwe_room *ret)
{
	memset(ret, 0, sizeof *ret);
	if (bytes == 0 || bytes > SIZE_MAX) {
		return -ENOMEM;
	}
	void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (p == MAP_FAILED) {
		return -ENOMEM;
	}
	*ret = (struct cwe_room){.p = p, .bytes = bytes};
	return 0;
}

void cwe_room_free(struct cwe_room *room)
{
	if (room->p != NULL) {
		(void)munmap(room->p, room->bytes);
	}
	memset(room, 0, sizeof *room);
}

uint64_t cwe_room_available(void)
{
	char line[128];
	uint64_t kib, bytes = UINT64_MAX;
	FILE *f = fopen("/proc/meminfo", "re");
	while (f != NULL && fgets(line, sizeof line, f) != NULL) {
		if (sscanf(line, "MemAvailable: %" SCNu64, &kib) == 1) {
			bytes = kib <= UINT64_MAX / 1024 ? kib * 1024 : UINT64_MAX;
			break;
		}
	}
	if (f != NULL) {
		(void)fclose(f);
	}
	return bytes;
}
