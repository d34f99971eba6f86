/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Time and memory of a tokenizer: the half of bench/tokenize that runs this engine.
 *
 *     tokenize-run time MODEL IDS < TEXTS
 *     tokenize-run memory MODEL
 *
 * MODEL is a folder with a tokenizer.json, or a .gguf file. TEXTS are lines of JSON {"set": NAME,
 * "texts": [..]}; each set is encoded in turn. The first writes a line "NAME BYTES TOKENS SECONDS"
 * a set, in seconds of the processor, and into the file IDS (unless "-") the count and the ids of
 * each text, 32 bits each. The second writes the seconds of loading, and what it added to this
 * process: resident afterwards, and at the peak, in bytes. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <jansson.h>

#include "engine/format/source.h"
#include "engine/text/beside.h"

static int complain(const char *what)
{
	fprintf(stderr, "tokenize-run: %s\n", what);
	return 1;
}

static double seconds(void)
{
	struct timespec t;
	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static int load(const char *model, struct cwe_tokenizer **ret)
{
	struct cwb_err err = {0};
	struct cwe_source *source = NULL;
	int rc = cwe_source_open(model, CWE_SOURCE_NO_WEIGHTS, &source, &err);
	if (rc == 0)
		rc = cwe_tokenizer_beside(source, ret, &err);
	cwe_source_close(source);
	return rc == 0 ? 0 : complain(err.message);
}

/* A figure of a file of /proc/self in bytes, or -1. */
static long long figure(const char *file, const char *key)
{
	char line[256];
	long long kib = -1;
	FILE *f = fopen(file, "r");
	while (f && fgets(line, sizeof(line), f)) {
		if (strncmp(line, key, strlen(key)) == 0 && line[strlen(key)] == ':')
			kib = strtoll(line + strlen(key) + 1, NULL, 10);
	}
	if (f)
		fclose(f);
	return kib < 0 ? -1 : kib * 1024;
}

/* What the process has for itself. Pages of the program and its libraries that are used for the first time, about 1 MiB, are
 * the same for every tokenizer and belong to all processes; and VmRSS of status is off by what each processor has not
 * reported yet. */
static long long resident(void)
{
	return figure("/proc/self/smaps_rollup", "Anonymous");
}

static int memory(const char *model)
{
	struct cwe_tokenizer *t = NULL;
	long long before = resident(), all = figure("/proc/self/status", "VmRSS");
	double start = seconds();
	if (load(model, &t) != 0)
		return 1;
	double end = seconds();
	printf("%.4f %lld %lld\n", end - start, resident() - before,
		figure("/proc/self/status", "VmHWM") - all);
	cwe_tokenizer_free(t);
	return 0;
}

static int write_ids(FILE *out, const struct cwe_ids *ids)
{
	uint32_t n = (uint32_t)ids->count;
	return !out ||
	       (fwrite(&n, sizeof(n), 1, out) == 1 && fwrite(ids->id, sizeof(n), n, out) == n);
}

static int encode_set(const struct cwe_tokenizer *t, const json_t *set, FILE *out)
{
	const json_t *texts = json_object_get(set, "texts");
	size_t n = json_array_size(texts);
	size_t bytes = 0;
	size_t tokens = 0;
	struct cwb_err err = {0};
	struct cwe_ids *ids = calloc(n + 1, sizeof(*ids));
	if (!ids)
		return complain("out of memory");
	double start = seconds();
	for (size_t i = 0; i < n; i++) {
		const json_t *text = json_array_get(texts, i);
		if (cwe_tokenizer_encode(t, json_string_value(text), json_string_length(text), 1,
			    &ids[i], &err) < 0)
			return complain(err.message);
		bytes += json_string_length(text);
		tokens += ids[i].count;
	}
	double end = seconds();
	for (size_t i = 0; i < n; i++) {
		if (!write_ids(out, &ids[i]))
			return complain("cannot write the ids");
		free(ids[i].id);
	}
	free(ids);
	printf("%s %zu %zu %.6f\n", json_string_value(json_object_get(set, "set")), bytes, tokens,
		end - start);
	return 0;
}

static int time_sets(const char *model, const char *path)
{
	struct cwe_tokenizer *t = NULL;
	char *line = NULL;
	size_t room = 0;
	int rc = load(model, &t);
	FILE *out = strcmp(path, "-") != 0 ? fopen(path, "wb") : NULL;
	for (ssize_t n; rc == 0 && (n = getline(&line, &room, stdin)) > 0;) {
		json_t *set = json_loadb(line, (size_t)n, JSON_ALLOW_NUL, NULL);
		rc = set ? encode_set(t, set, out) : complain("a line that is no JSON");
		json_decref(set);
	}
	if (out && fclose(out) != 0)
		rc = complain("cannot write the ids");
	free(line);
	cwe_tokenizer_free(t);
	return rc;
}

int main(int argc, char **argv)
{
	if (argc == 4 && strcmp(argv[1], "time") == 0)
		return time_sets(argv[2], argv[3]);
	if (argc == 3 && strcmp(argv[1], "memory") == 0)
		return memory(argv[2]);
	return complain("usage: tokenize-run time MODEL IDS < TEXTS, or tokenize-run memory MODEL");
}
