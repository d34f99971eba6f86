/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Runs a fuzz target over its stored corpus in builds without libFuzzer: a program named replay_X
 * over the files of tests/fuzz/corpus/X, or over the files and folders that are given. */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/file.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int count;

static int replay_file(const char *path)
{
	struct cwb_err err = {0};
	char *data;
	size_t length;

	if (cwb_file_read(path, 16 << 20, &data, &length, &err) < 0) {
		fprintf(stderr, "%s\n", err.message);
		return 1;
	}
	/* A copy of its exact size, so that a sanitizer sees a step beyond it. */
	uint8_t *exact = malloc(length > 0 ? length : 1);
	if (exact == NULL) {
		abort();
	}
	memcpy(exact, data, length);
	free(data);
	fprintf(stderr, "%s\n", path);
	LLVMFuzzerTestOneInput(exact, length);
	free(exact);
	count++;
	return 0;
}

static int replay(const char *path)
{
	struct stat st;
	struct dirent **entries;
	int rc = 0;

	if (stat(path, &st) == 0 && !S_ISDIR(st.st_mode)) {
		return replay_file(path);
	}
	int n = scandir(path, &entries, NULL, alphasort);
	if (n < 0) {
		perror(path);
		return 1;
	}
	for (int i = 0; i < n; i++) {
		char name[4096];
		int used = snprintf(name, sizeof(name), "%s/%s", path, entries[i]->d_name);
		if (entries[i]->d_name[0] != '.' && used > 0 && (size_t)used < sizeof(name)) {
			rc |= replay_file(name);
		}
		free(entries[i]);
	}
	free(entries);
	return rc;
}

int main(int argc, char **argv)
{
	const char *source = getenv("CWP_SRCDIR"), *name = strstr(argv[0], "replay_");
	char path[4096];
	int rc = 0;

	for (int i = 1; i < argc; i++) {
		rc |= replay(argv[i]);
	}
	if (argc == 1 && name != NULL) {
		/* libtool's wrapper runs lt-replay_X; strstr finds the part behind it. */
		snprintf(path, sizeof(path), "%s/tests/fuzz/corpus/%s",
			source != NULL ? source : ".", name + strlen("replay_"));
		rc = replay(path);
	}
	fprintf(stderr, "%d inputs\n", count);
	return rc != 0 || count == 0;
}
