/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Telling one process from another that got its number later. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "daemon/executor/executor.h"

static ssize_t read_small(const char *path, char *buffer, size_t size)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n;

	if (fd < 0) {
		return -1;
	}
	n = read(fd, buffer, size - 1);
	close(fd);
	if (n >= 0) {
		buffer[n] = '\0';
	}
	return n;
}

uint64_t cwd_process_start_ticks(int64_t pid)
{
	char path[64], text[1024];
	const char *at;
	int field;

	snprintf(path, sizeof path, "/proc/%lld/stat", (long long)pid);
	if (pid <= 0 || read_small(path, text, sizeof text) <= 0) {
		return 0;
	}
	/* Field 2 is the name in brackets and may hold anything, so count from the last bracket:
	 * field 3 follows. */
	at = strrchr(text, ')');
	for (field = 2; at != NULL && field < 22; field++) {
		at = strchr(at + 1, ' ');
	}
	return at == NULL ? 0 : strtoull(at + 1, NULL, 10);
}

void cwd_boot_id(char ret[40])
{
	if (read_small("/proc/sys/kernel/random/boot_id", ret, 40) < 0) {
		ret[0] = '\0';
	}
	ret[strcspn(ret, "\n")] = '\0';
}
