/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Which score tiles there are: the journal. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/json.h"
#include "engine/pipeline/tiles.h"

#define JOURNAL "journal"
#define JOURNAL_LIMIT (64u << 20)

char *cwe_tiles_path(const struct cwe_tiles *t, const char *name)
{
	char *path = NULL;
	return asprintf(&path, "%s/%s", t->scratch, name) < 0 ? NULL : path;
}

int cwe_tile_stripes(const struct cwe_tiles *t, uint32_t set)
{
	return set == CWE_TILE_COMBINED || t->striped ? CWE_TILE_STRIPES : 1;
}

void cwe_tile_stripe_name(const struct cwe_tiles *t, uint32_t layer, uint32_t set, int stripe, char *name, size_t size)
{
	char number[16] = "";
	if (stripe > 0) {
		(void)snprintf(number, sizeof number, ".%d", stripe);
	}
	if (set == CWE_TILE_COMBINED) {
		(void)snprintf(name, size, "combined-%" PRIu32 ".f32%s", layer, number);
	} else {
		(void)snprintf(name, size, "score-%" PRIu32 "-%" PRIu32 ".%s%s", set, layer, t->bf16 ? "bf16" : "f32", number);
	}
}

json_int_t cwe_tile_bytes_in(const struct cwe_tiles *t, int folder, uint32_t layer, uint32_t set)
{
	char name[64];
	struct stat st;
	json_int_t bytes = 0;
	for (int i = 0; bytes >= 0 && i < cwe_tile_stripes(t, set); i++) {
		cwe_tile_stripe_name(t, layer, set, i, name, sizeof name);
		int there = fstatat(folder, name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(st.st_mode);
		bytes = there ? bytes + (json_int_t)st.st_size : -1;
	}
	return bytes;
}

/* The same on scratch. */
static json_int_t tile_bytes(const struct cwe_tiles *t, uint32_t layer, uint32_t set)
{
	int folder = open(t->scratch, O_DIRECTORY | O_RDONLY | O_CLOEXEC);
	json_int_t bytes = folder >= 0 ? cwe_tile_bytes_in(t, folder, layer, set) : -1;
	if (folder >= 0) {
		(void)close(folder);
	}
	return bytes;
}

/* One journal line: {"note":{..}} of no layer, or {"layer":n,"next":"..","sets":[{"digest":"..","sum":"0x1.8p+3","loss":"..","bytes":n},..]},
 * "note" where there is one, and "cached":true where the sets came from the cache; numbers are hexadecimal floats, so that they
 * come back as they were. tiles_forward.c has those of the time before. */
static int take_line(struct cwe_tiles *t, const json_t *line)
{
	int forward = cwe_tiles_take_forward(t, line);
	if (forward != 0) {
		return forward > 0 ? 0 : -1;
	}
	const json_t *sets = json_object_get(line, "sets"), *note = json_object_get(line, "note");
	if (json_is_object(note) && sets == NULL) {
		json_decref(t->note);
		t->note = json_incref((json_t *)(uintptr_t)note);
		return 0;
	}
	json_int_t layer = json_integer_value(json_object_get(line, "layer"));
	const char *next = json_string_value(json_object_get(line, "next"));
	if (!json_is_integer(json_object_get(line, "layer")) || layer < 0 || layer >= t->layers || next == NULL ||
		strlen(next) > 64 || json_array_size(sets) != t->sets) {
		return -1;
	}
	struct cwe_tile_layer *l = &t->layer[layer];
	for (uint32_t s = 0; s < t->sets; s++) {
		const char *digest = json_string_value(json_object_get(json_array_get(sets, s), "digest"));
		const char *sum = json_string_value(json_object_get(json_array_get(sets, s), "sum"));
		const json_t *bytes = json_object_get(json_array_get(sets, s), "bytes");
		const char *loss = json_string_value(json_object_get(json_array_get(sets, s), "loss"));
		if (digest == NULL || sum == NULL || loss == NULL || !cwb_digest_is_hex(digest) || !json_is_integer(bytes) ||
			json_integer_value(bytes) != tile_bytes(t, (uint32_t)layer, s)) {
			return -1;
		}
		memcpy(l->digest[s], digest, 65);
		l->sum[s] = strtod(sum, NULL);
		l->loss[s] = strtod(loss, NULL);
	}
	memcpy(l->next, next, strlen(next) + 1);
	json_decref(l->note);
	l->note = json_incref(json_object_get(line, "note"));
	l->cached = json_is_true(json_object_get(line, "cached"));
	l->done = 1;
	return 0;
}

/* Whether the journal is of this identity; its complete lines are taken. A torn last line is left out. */
static int read_journal(struct cwe_tiles *t, const char *identity, off_t *ret_length)
{
	char *path = cwe_tiles_path(t, JOURNAL), *text = NULL;
	size_t length = 0;
	int ours = 0, first = 1;
	if (path == NULL || cwb_file_read(path, JOURNAL_LIMIT, &text, &length, NULL) != 0) {
		free(path);
		return 0;
	}
	for (char *line = text, *end; (end = memchr(line, '\n', length - (size_t)(line - text))) != NULL; line = end + 1) {
		json_t *json = NULL;
		if (cwb_json_load(line, (size_t)(end - line), JOURNAL_LIMIT, 8, &json, NULL) != 0) {
			break;
		}
		const char *found = json_string_value(json_object_get(json, "identity"));
		int ok = first ? found != NULL && strcmp(found, identity) == 0 : take_line(t, json) == 0;
		json_decref(json);
		if (!ok) {
			/* The layers below were computed from the one that is lost. */
			ours = 0;
			break;
		}
		ours = 1;
		first = 0;
		*ret_length = end + 1 - text;
	}
	free(text);
	free(path);
	return ours;
}

int cwe_tiles_append(struct cwe_tiles *t, json_t *line, struct cwb_err *err)
{
	size_t length = 0;
	char *text = line != NULL ? cwb_json_dump(line, &length) : NULL;
	json_decref(line);
	if (text == NULL) {
		return cwb_err_set(err, -ENOMEM, "no memory for the journal");
	}
	int r = cwb_file_write(t->journal, text, length, JOURNAL, err);
	r = r == 0 ? cwb_file_write(t->journal, "\n", 1, JOURNAL, err) : r;
	free(text);
	if (r == 0 && fdatasync(t->journal) != 0) {
		r = cwb_err_errno(err, "scratch: writing the journal");
	}
	return r;
}

static int allocate(struct cwe_tiles *t)
{
	t->layer = calloc(t->layers, sizeof *t->layer);
	t->boundary = calloc(t->layers + 1, sizeof *t->boundary);
	t->head_loss = calloc(t->sets + 1, sizeof *t->head_loss);
	if (t->boundary == NULL || t->head_loss == NULL) {
		return -ENOMEM;
	}
	for (uint32_t l = 0; t->layer != NULL && l < t->layers; l++) {
		t->layer[l].digest = calloc(t->sets + 1, sizeof *t->layer[l].digest);
		t->layer[l].sum = calloc(t->sets + 1, sizeof *t->layer[l].sum);
		t->layer[l].loss = calloc(t->sets + 1, sizeof *t->layer[l].loss);
		if (t->layer[l].digest == NULL || t->layer[l].sum == NULL || t->layer[l].loss == NULL) {
			return -ENOMEM;
		}
	}
	return t->layer != NULL ? 0 : -ENOMEM;
}

/* Of any shape and form, since another job had others: tiles, candidates.h, calibrate/kept.h, calibrate/checkpoint.h. */
static int is_of_a_calibration(const char *name)
{
	return strncmp(name, "score-", 6) == 0 || strncmp(name, "candidates-", 11) == 0 || strncmp(name, "forward-", 8) == 0 ||
		strncmp(name, "gradient-", 9) == 0;
}

/* A scratch folder of another job, or one without a journal, starts empty. */
static int start(struct cwe_tiles *t, const char *identity, struct cwb_err *err)
{
	int folder = open(t->scratch, O_DIRECTORY | O_RDONLY | O_CLOEXEC);
	if (folder < 0) {
		return cwb_err_errno(err, "scratch folder %s", t->scratch);
	}
	int r = cwb_file_remove_tree(folder, JOURNAL, err);
	r = r == 0 ? cwb_file_remove_matching(folder, is_of_a_calibration, "scratch folder", err) : r;
	json_decref(t->note);
	t->note = NULL;
	memset(t->boundary, 0, (t->layers + 1) * sizeof *t->boundary);
	t->head[0] = '\0';
	t->passes = 0;
	for (uint32_t l = 0; r == 0 && l < t->layers; l++) {
		t->layer[l].done = t->layer[l].cached = 0;
		t->layer[l].next[0] = '\0';
		json_decref(t->layer[l].note);
		t->layer[l].note = NULL;
	}
	if (r == 0) {
		t->journal = openat(folder, JOURNAL, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
		r = t->journal >= 0 ? cwe_tiles_append(t, json_pack("{s:s}", "identity", identity), err)
				    : cwb_err_errno(err, "scratch: %s/" JOURNAL, t->scratch);
	}
	r = r == 0 ? cwb_file_sync_folder(folder, t->scratch, err) : r;
	(void)close(folder);
	return r;
}

int cwe_tiles_restart(struct cwe_tiles *t, const char *identity, struct cwb_err *err)
{
	if (t->journal >= 0) {
		(void)close(t->journal);
	}
	t->journal = -1;
	return start(t, identity, err);
}

int cwe_tiles_open(const struct cwe_tiles_key *key, struct cwe_tiles *ret, struct cwb_err *err)
{
	const char *scratch = key->scratch, *identity = key->identity;
	struct cwe_tiles t = {.scratch = strdup(scratch), .sets = key->sets, .layers = key->layers, .bf16 = key->bf16,
		.striped = key->striped, .pool = key->pool, .journal = -1};
	int r = t.scratch != NULL ? allocate(&t) : -ENOMEM;
	if (r != 0) {
		cwe_tiles_close(&t);
		return cwb_err_set(err, r, "no memory for the score tiles");
	}
	off_t length = 0;
	if (read_journal(&t, identity, &length)) {
		char *path = cwe_tiles_path(&t, JOURNAL);
		t.journal = path != NULL ? open(path, O_WRONLY | O_APPEND | O_CLOEXEC) : -1;
		r = t.journal >= 0 ? 0 : cwb_err_errno(err, "scratch: %s/" JOURNAL, scratch);
		free(path);
		/* A torn line would swallow the next one. */
		if (r == 0 && ftruncate(t.journal, length) != 0) {
			r = cwb_err_errno(err, "scratch: %s/" JOURNAL, scratch);
		}
	} else {
		r = start(&t, identity, err);
	}
	if (r != 0) {
		cwe_tiles_close(&t);
		return r;
	}
	*ret = t;
	return 0;
}

void cwe_tiles_close(struct cwe_tiles *t)
{
	if (t->journal >= 0) {
		(void)close(t->journal);
	}
	for (uint32_t l = 0; t->layer != NULL && l < t->layers; l++) {
		free(t->layer[l].digest);
		free(t->layer[l].sum);
		free(t->layer[l].loss);
		json_decref(t->layer[l].note);
	}
	json_decref(t->note);
	free(t->boundary);
	free(t->head_loss);
	free(t->layer);
	free(t->scratch);
	memset(t, 0, sizeof *t);
	t->journal = -1;
}

int cwe_tiles_note(struct cwe_tiles *t, json_t *note, struct cwb_err *err)
{
	json_decref(t->note);
	t->note = note;
	return cwe_tiles_append(t, note != NULL ? json_pack("{s:O}", "note", note) : NULL, err);
}

json_t *cwe_tiles_sets_json(const struct cwe_tiles *t, uint32_t layer)
{
	const struct cwe_tile_layer *l = &t->layer[layer];
	json_t *sets = json_array();
	for (uint32_t s = 0; s < t->sets; s++) {
		char sum[64], loss[64];
		(void)snprintf(sum, sizeof sum, "%a", l->sum[s]);
		(void)snprintf(loss, sizeof loss, "%a", l->loss[s]);
		if (json_array_append_new(sets, json_pack("{s:s,s:s,s:s,s:I}", "digest", l->digest[s], "sum", sum,
			"loss", loss, "bytes", tile_bytes(t, layer, s))) != 0) {
			json_decref(sets);
			return NULL;
		}
	}
	return sets;
}

int cwe_tiles_commit(struct cwe_tiles *t, uint32_t layer, struct cwb_err *err)
{
	struct cwe_tile_layer *l = &t->layer[layer];
	json_t *sets = cwe_tiles_sets_json(t, layer);
	json_t *line = sets != NULL ? json_pack("{s:i,s:s,s:o,s:I,s:O*}", "layer", (int)layer, "next", l->next, "sets", sets,
		"passes", (json_int_t)t->passes, "note", l->note) : NULL;
	if (line == NULL || (l->cached && json_object_set_new(line, "cached", json_true()) != 0)) {
		json_decref(line);
		return cwb_err_set(err, -ENOMEM, "no memory for the journal");
	}
	int r = cwe_tiles_append(t, line, err);
	l->done = r == 0;
	return r;
}
