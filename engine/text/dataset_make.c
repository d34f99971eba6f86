/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* How the items of data sets are made from their columns. */
#include <string.h>

#include "base/err.h"
#include "engine/text/dataset.h"

#define REFUSAL "I'm sorry, but I can't help with that."

static int wrong(struct cwe_parts *p, int code, const char *field, const char *what)
{
	p->field = field;
	p->wrong = what;
	return code;
}

/* A column that must be a text. 1: it is absent and may be. */
static int read_text(const struct cwe_source_item *from, const char *column, int optional,
	struct cwe_text *ret, struct cwe_parts *p)
{
	const char *type = "integer";
	int rc = cwe_record_text(&from->record, column, ret, &type);
	if (rc == 0)
		return optional ? 1 : wrong(p, CWP_EMISSING, column, "absent");
	if (rc > 0 && ret->text != ret->number)
		return 0;
	p->field = column;
	p->wrong = strcmp(type, "array") == 0     ? "not a string but array"
		   : strcmp(type, "object") == 0  ? "not a string but object"
		   : strcmp(type, "integer") == 0 ? "not a string but integer"
						  : "not a string";
	return CWP_EVALUE;
}

static int is_blank(const struct cwe_text *t)
{
	for (size_t i = 0; i < t->length; i++) {
		if (!strchr(" \t\r\n", t->text[i]) || t->text[i] == '\0')
			return 0;
	}
	return 1;
}

static void trim(struct cwe_text *t)
{
	while (t->length > 0 && strchr(" \t\r\n", t->text[t->length - 1]))
		t->length--;
	while (t->length > 0 && strchr(" \t\r\n", t->text[0])) {
		t->text++;
		t->length--;
	}
}

/* Adds a column that an item cannot be without: blank is an error in a file of the user's own, and
 * no item in a published one. */
static int add_needed(const struct cwe_source_item *from, const char *column, struct cwe_parts *p)
{
	struct cwe_text t;
	int rc = read_text(from, column, 0, &t, p);
	if (rc < 0)
		return rc;
	if (from->row->own ? t.length == 0 : is_blank(&t))
		return from->row->own ? wrong(p, CWP_EVALUE, column, "empty") : 1;
	/* In one sentence of a pair white space would count as what sets it apart. */
	if (!from->row->own && from->kind == CWE_ITEM_PAIR)
		trim(&t);
	cwe_parts_add(p, t.text, t.length);
	return 0;
}

/* The prompt, and what comes on a line of its own behind it. */
static int add_prompt(const struct cwe_source_item *from, struct cwe_parts *p)
{
	const struct cwe_dataset *row = from->row;
	struct cwe_text t;
	int rc;
	if (from->kind == CWE_ITEM_TEXT) {
		/* A text may be empty (data sets have such lines): it is left out where tokens are
		 * counted. */
		rc = read_text(from, row->column[0], 0, &t, p);
		if (rc == 0)
			cwe_parts_add(p, t.text, t.length);
	} else {
		rc = add_needed(from, row->column[0], p);
	}
	if (rc != 0 || !row->column[1])
		return rc;
	rc = read_text(from, row->column[1], 1, &t, p);
	if (rc == 0 && t.length > 0) {
		cwe_parts_add(p, "\n", 1);
		cwe_parts_add(p, t.text, t.length);
	}
	return rc < 0 ? rc : 0;
}

static void add_refusal(const struct cwe_source_item *from, struct cwe_parts *p)
{
	const char *text = from->set->refusal ? from->set->refusal : REFUSAL;
	cwe_parts_end(p);
	cwe_parts_add(p, text, strlen(text));
}

static int make_pair(const struct cwe_source_item *from, struct cwe_parts *p)
{
	const char *const *column = from->row->column;
	struct cwe_text t;
	int rc = column[0] ? read_text(from, column[0], 1, &t, p) : 1;
	if (rc == 0)
		cwe_parts_add(p, t.text, t.length);
	for (size_t i = 1; i < 3 && rc >= 0; i++) {
		cwe_parts_end(p);
		rc = add_needed(from, column[i], p);
		if (rc > 0)
			return 1;
	}
	return rc < 0 ? rc : 0;
}

int cwe_make_columns(const struct cwe_source_item *from, struct cwe_parts *ret)
{
	const struct cwe_dataset *row = from->row;
	if (from->kind == CWE_ITEM_PAIR)
		return make_pair(from, ret);
	int rc = add_prompt(from, ret);
	if (rc != 0)
		return rc;
	if (from->kind == CWE_ITEM_REFUSAL) {
		add_refusal(from, ret);
	} else if (from->kind == CWE_ITEM_ANSWER) {
		cwe_parts_end(ret);
		return add_needed(from, row->column[2], ret);
	} else if (row->column[2]) {
		cwe_parts_add(ret, "\n", 1);
		return add_needed(from, row->column[2], ret);
	}
	return 0;
}

/* A behaviour that refers to a text comes behind that text. */
int cwe_make_harmbench(const struct cwe_source_item *from, struct cwe_parts *ret)
{
	struct cwe_text context;
	int rc = read_text(from, from->row->column[3], 1, &context, ret);
	if (rc == 0 && !is_blank(&context)) {
		cwe_parts_add(ret, context.text, context.length);
		cwe_parts_add(ret, "\n\n---\n\n", 7);
	}
	return rc < 0 ? rc : cwe_make_columns(from, ret);
}

/* Whether an answer has any of the words of a refusal. */
static int is_refusal(const char *text)
{
	static const char *const words[] = {"cannot", "can't", "sorry", "unable", "apolog",
		"not able", "not within", "not appropriate"};
	for (size_t i = 0; i < sizeof(words) / sizeof(*words); i++) {
		if (strstr(text, words[i]))
			return 1;
	}
	return 0;
}

/* Prompts in the marks of Llama 2's chat format, and sampled answers: a few comply, and are left
 * out. */
int cwe_make_refusal_pair(const struct cwe_source_item *from, struct cwe_parts *ret)
{
	static const char begin[] = "[INST]";
	static const char end[] = "[/INST]";
	struct cwe_text prompt;
	struct cwe_text answer;
	int rc = read_text(from, from->row->column[0], 0, &prompt, ret);
	if (rc == 0)
		rc = read_text(from, from->row->column[2], 0, &answer, ret);
	if (rc != 0)
		return rc;
	if (!is_refusal(answer.text))
		return 1;
	trim(&prompt);
	if (prompt.length >= sizeof(begin) + sizeof(end) - 2 &&
		memcmp(prompt.text, begin, sizeof(begin) - 1) == 0 &&
		memcmp(prompt.text + prompt.length - (sizeof(end) - 1), end, sizeof(end) - 1) ==
			0) {
		prompt.text += sizeof(begin) - 1;
		prompt.length -= sizeof(begin) + sizeof(end) - 2;
		trim(&prompt);
	}
	trim(&answer);
	if (prompt.length == 0 || answer.length == 0)
		return 1;
	cwe_parts_add(ret, prompt.text, prompt.length);
	cwe_parts_end(ret);
	cwe_parts_add(ret, answer.text, answer.length);
	return 0;
}

/* Question and choices as they are usually put, and the right one's letter. */
int cwe_make_mmlu(const struct cwe_source_item *from, struct cwe_parts *ret)
{
	static const char *const columns[] = {
		"question", "choice0", "choice1", "choice2", "choice3"};
	struct cwe_text t;
	int rc;
	for (size_t i = 0; i < 5; i++) {
		char letter[4] = {(char)('A' + i - 1), '.', ' ', '\0'};
		rc = read_text(from, columns[i], 0, &t, ret);
		if (rc < 0)
			return rc;
		if (i > 0)
			cwe_parts_add(ret, letter, 3);
		cwe_parts_add(ret, t.text, t.length);
		cwe_parts_add(ret, "\n", 1);
	}
	cwe_parts_add(ret, "Answer:", 7);
	rc = read_text(from, "answer", 0, &t, ret);
	if (rc < 0)
		return rc;
	if (t.length != 1 || t.text[0] < '0' || t.text[0] > '3')
		return wrong(ret, CWP_EVALUE, "answer", "not 0, 1, 2 or 3");
	if (from->kind == CWE_ITEM_TEXT)
		cwe_parts_add(ret, " ", 1);
	else
		cwe_parts_end(ret);
	ret->separator = " ";
	char letter = (char)('A' + t.text[0] - '0');
	cwe_parts_add(ret, &letter, 1);
	return 0;
}
