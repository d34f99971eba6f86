/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Any bytes as a plugin file: the note reader must neither crash nor read past what is there. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "engine/plugin/note.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static int fd = -1;
	struct cwe_note note;
	struct cwb_err err;
	char build_id[65];

	if (fd < 0) {
		fd = memfd_create("note", MFD_CLOEXEC);
	}
	if (fd < 0 || ftruncate(fd, (off_t)size) < 0 || pwrite(fd, data, size, 0) != (ssize_t)size) {
		return 0;
	}
	cwb_err_clear(&err);
	int rc = cwe_note_read(fd, "fuzz.so", &note, &err);
	/* A refusal always has a code and a text. */
	if (rc < 0 && (err.code != rc || err.message[0] == '\0')) {
		abort();
	}
	if (rc == 0) {
		cwb_err_clear(&err);
		cwe_note_check(&note, "fuzz.so", &err);
	}
	cwb_err_clear(&err);
	if (cwe_note_build_id(fd, "fuzz.so", build_id, &err) == 0 && memchr(build_id, '\0', sizeof(build_id)) == NULL) {
		abort();
	}
	return 0;
}
