/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* A judge's prompt and its verdicts. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "plugins/evaluators/common/safe_file.h"
#include "plugins/evaluators/refusal/judge.h"

#define PROMPT "{prompt}"
#define RESPONSE "{response}"

int judge_open(const struct cwp_host *host, const char *beside, const char *name, const char *safe, const char *unsafe,
	struct judge *ret)
{
	size_t length = 0;
	*ret = (struct judge){.safe = safe, .unsafe = unsafe};
	if (*safe == '\0' || *unsafe == '\0' || strcasecmp(safe, unsafe) == 0) {
		return safe_fail(host, CWP_EVALUE, "%s: \"%.60s\": the judge's two words must be there and differ", *safe == '\0' ? "safe-word"
			: "unsafe-word", *safe == '\0' ? safe : unsafe);
	}
	int r = safe_file_read(host, "judge-prompt", beside, name, &ret->form, &length);
	if (r == 0 && strstr(ret->form, RESPONSE) == NULL) {
		r = safe_fail(host, CWP_EFORMAT, "judge-prompt: %.300s: has no place for the answer: write " RESPONSE " there, and " PROMPT
			" for what was asked", name);
	}
	return r;
}

void judge_close(struct judge *j)
{
	free(j->form);
	free(j->text);
	*j = (struct judge){0};
}

/* Which place begins at s: 1 the prompt's, 2 the response's, 0 none. */
static int place(const char *s)
{
	return strncmp(s, PROMPT, sizeof PROMPT - 1) == 0 ? 1 : strncmp(s, RESPONSE, sizeof RESPONSE - 1) == 0 ? 2 : 0;
}

/* Writes the filled form to `to`, or only counts where that is NULL. */
static size_t fill(const char *form, const char *const text[3], const size_t length[3], char *to)
{
	size_t n = 0;
	while (*form != '\0') {
		int which = place(form);
		const char *from = which > 0 ? text[which] : form;
		size_t bytes = which > 0 ? length[which] : 1;
		if (to != NULL) {
			memcpy(to + n, from, bytes);
		}
		n += bytes;
		form += which == 1 ? sizeof PROMPT - 1 : which == 2 ? sizeof RESPONSE - 1 : 1;
	}
	return n;
}

const char *judge_prompt(struct judge *j, const char *prompt, size_t prompt_length, const char *response, size_t response_length,
	size_t *ret_length)
{
	const char *const text[3] = {"", prompt, response != NULL ? response : ""};
	const size_t length[3] = {0, prompt_length, response != NULL ? response_length : 0};
	size_t n = fill(j->form, text, length, NULL);
	char *made = malloc(n + 1);
	if (made == NULL) {
		return NULL;
	}
	(void)fill(j->form, text, length, made);
	made[n] = '\0';
	free(j->text);
	j->text = made;
	*ret_length = n;
	return made;
}

static int is_letter(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

/* Where the whole word first is, or SIZE_MAX. */
static size_t find(const char *said, size_t length, const char *word)
{
	size_t n = strlen(word);
	for (size_t i = 0; n <= length && i <= length - n; i++) {
		if (strncasecmp(said + i, word, n) == 0 && (i == 0 || !is_letter(said[i - 1]) || !is_letter(word[0])) &&
			(i + n == length || !is_letter(said[i + n]) || !is_letter(word[n - 1]))) {
			return i;
		}
	}
	return SIZE_MAX;
}

enum verdict judge_verdict(const struct judge *j, const char *said, size_t length)
{
	size_t safe = find(said, length, j->safe), unsafe = find(said, length, j->unsafe);
	return safe == unsafe ? VERDICT_UNKNOWN : safe < unsafe ? VERDICT_SAFE : VERDICT_UNSAFE;
}
