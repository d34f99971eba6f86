/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* MMLU's prompts: lm-evaluation-harness' description, questions and examples. */
#include <dirent.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "plugins/evaluators/mmlu/mmlu.h"

/* Appends to a text that grows; 0 or -ENOMEM. */
static int append(char **text, const char *format, ...) __attribute__((format(printf, 2, 3)));

static int append(char **text, const char *format, ...)
{
	va_list args, again;
	size_t used = *text != NULL ? strlen(*text) : 0;
	va_start(args, format);
	va_copy(again, args);
	int n = vsnprintf(NULL, 0, format, args);
	char *more = n >= 0 ? realloc(*text, used + (size_t)n + 1) : NULL;
	if (more != NULL) {
		(void)vsnprintf(more + used, (size_t)n + 1, format, again);
		*text = more;
	}
	va_end(again);
	va_end(args);
	return more != NULL ? 0 : -ENOMEM;
}

void mmlu_subject_of(const char *path, char ret[64])
{
	static const char *const endings[] = {".csv", "_test", "_val", "_dev"};
	const char *name = strrchr(path, '/');
	(void)snprintf(ret, 64, "%s", name != NULL ? name + 1 : path);
	for (size_t i = 0; i < sizeof endings / sizeof *endings; i++) {
		size_t n = strlen(ret), k = strlen(endings[i]);
		if (n > k && strcmp(ret + n - k, endings[i]) == 0) {
			ret[n - k] = '\0';
		}
	}
}

int mmlu_right(const struct rows *rows, uint64_t row, size_t *ret)
{
	static const char *const answers[] = {"0", "1", "2", "3", "A", "B", "C", "D", NULL};
	size_t right = 0;
	int r = rows_word(rows, row, "answer", answers, &right);
	if (r == 0) {
		*ret = right % LETTERS;
	}
	return r;
}

int mmlu_question(const struct rows *rows, uint64_t row, char **text)
{
	const char *question = NULL, *choice[LETTERS] = {NULL};
	int r = rows_text(rows, row, "question", &question);
	for (size_t k = 0; r == 0 && k < LETTERS; k++) {
		char field[16];
		(void)snprintf(field, sizeof field, "choice%zu", k);
		r = rows_text(rows, row, field, &choice[k]);
	}
	if (r != 0) {
		return r;
	}
	question += strspn(question, " \t\r\n\v\f");
	size_t n = strlen(question);
	while (n > 0 && strchr(" \t\r\n\v\f", question[n - 1]) != NULL) {
		n--;
	}
	return append(text, "%.*s\nA. %s\nB. %s\nC. %s\nD. %s\nAnswer:", (int)n, question, choice[0], choice[1], choice[2], choice[3]);
}

static int add_shots(const struct rows *rows, size_t shots, char **text)
{
	int r = rows->count >= shots ? 0 : rows_refuse_file(rows->host, rows->path, "%zu examples are in the file, and %zu are asked for; "
		"lower the option shots", rows->count, shots);
	for (size_t i = 0; r == 0 && i < shots; i++) {
		size_t right = 0;
		r = mmlu_question(rows, i, text);
		r = r == 0 ? mmlu_right(rows, i, &right) : r;
		r = r == 0 ? append(text, " %c\n\n", "ABCD"[right]) : r;
	}
	return r;
}

int mmlu_preamble(const struct cwp_host *host, const char *folder, const char *subject, size_t shots, char **ret)
{
	char spoken[64], *path = NULL, *text = NULL;
	(void)snprintf(spoken, sizeof spoken, "%s", subject);
	for (char *s = spoken; *s != '\0'; s++) {
		*s = *s == '_' ? ' ' : *s;
	}
	int r = append(&text, "The following are multiple choice questions (with answers) about %s.\n\n", spoken);
	if (r == 0 && shots > 0) {
		struct rows rows = {0};
		r = append(&path, "%s/%s_dev.csv", folder, subject);
		r = r == 0 ? rows_open(host, path, "mmlu", NULL, &rows) : r;
		r = r == 0 ? add_shots(&rows, shots, &text) : r;
		rows_close(&rows);
	}
	free(path);
	if (r != 0) {
		free(text);
		return r;
	}
	*ret = text;
	return 0;
}

char *mmlu_beside(const char *data, const char *path)
{
	const char *slash = strrchr(data, '/');
	char *text = NULL;
	size_t folder = path[0] == '/' || slash == NULL ? 0 : (size_t)(slash - data) + 1;
	return append(&text, "%.*s%s", (int)folder, data, path) == 0 ? text : NULL;
}

static int by_name(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

void mmlu_files_free(char **files, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		free(files[i]);
	}
	free(files);
}

/* The paths of a folder's files with that ending, in any order. */
static int list_files(DIR *d, const char *path, const char *ending, char ***ret, size_t *ret_count)
{
	size_t length = strlen(ending);
	for (const struct dirent *e; (e = readdir(d)) != NULL;) {
		size_t n = strlen(e->d_name);
		if (n <= length || strcmp(e->d_name + n - length, ending) != 0) {
			continue;
		}
		char **more = realloc(*ret, (*ret_count + 1) * sizeof *more);
		if (more == NULL) {
			return -ENOMEM;
		}
		*ret = more;
		if ((more[*ret_count] = mmlu_beside(path, e->d_name)) == NULL) {
			return -ENOMEM;
		}
		++*ret_count;
	}
	return 0;
}

int mmlu_files(const struct cwp_host *host, const char *path, char ***ret, size_t *ret_count)
{
	static const char ending[] = "_test.csv";
	char *folder = mmlu_beside(path, ""), **files = NULL;
	size_t count = 0;
	if (folder == NULL) {
		return -ENOMEM;
	}
	DIR *d = opendir(*folder != '\0' ? folder : ".");
	int r = CWP_EVALUE;
	if (d == NULL) {
		(void)rows_refuse_file(host, folder, "%s", strerror(errno));
	} else {
		r = list_files(d, path, ending, &files, &count);
		(void)closedir(d);
	}
	if (r == 0 && files == NULL) {
		(void)rows_refuse_file(host, folder, "no file *%s is there", ending);
		r = CWP_EVALUE;
	}
	free(folder);
	if (r != 0) {
		mmlu_files_free(files, count);
		return r;
	}
	qsort(files, count, sizeof *files, by_name);
	*ret = files;
	*ret_count = count;
	return 0;
}
