/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Split patterns over classes of characters, matched by PCRE2. */
#define PCRE2_CODE_UNIT_WIDTH 8
#include "engine/text/pattern.h"

#include <errno.h>
#include <pcre2.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/text/regex.h"
#include "engine/text/utf8.h"

#define LOW 0x800              /* characters below are translated by a table */
#define CODES 256              /* kinds of characters that a byte can tell apart */
#define STACK_START (32 << 10) /* bytes of the compiled matcher's stack */
#define STACK_LIMIT (8 << 20)
#define MATCH_LIMIT                                                                                \
	50000000u  /* steps back in one search; a run of so many blanks needs about as many */
#define PADDING 64 /* bytes behind a text, and its alignment */
#define HEAP_LIMIT (64u << 10) /* KiB, of the interpreting matcher */

#define KEEP ((size_t)1 << 16) /* characters for which an idle matcher keeps its memory */

struct cwe_pattern {
	pcre2_code *code;
	int compiled; /* to machine code */
	/* Matchers that nobody uses: making one asks the system for pages. Never more than were
	 * used at the same time.
	 */
	pthread_mutex_t lock;
	struct cwe_matcher *idle;
	char *place;
	uint8_t low[LOW];
	/* From LOW on: characters from first[i] to first[i + 1] - 1 are of kind value[i]. */
	uint32_t *first;
	uint8_t *value;
	size_t count;
};

struct cwe_matcher {
	struct cwe_matcher *next; /* while it is idle */
	struct cwe_pattern *pattern;
	const char *text;
	size_t length;
	unsigned char *kind; /* [points]: of each character */
	size_t points, room;
	size_t at;                    /* characters: where the next search starts */
	size_t last_end;              /* characters: where the last match ended */
	int matched;                  /* whether there was one */
	size_t seen_point, seen_byte; /* the same place in characters and in bytes, behind which
					 nothing was reported */
	pcre2_match_data *data;
	pcre2_match_context *context;
	pcre2_jit_stack *stack;
};

static uint8_t kind_of(const struct cwe_pattern *p, uint32_t point)
{
	if (point < LOW)
		return p->low[point];
	size_t low = 0;
	size_t high = p->count;
	while (high - low > 1) {
		size_t middle = low + (high - low) / 2;
		if (p->first[middle] <= point)
			low = middle;
		else
			high = middle;
	}
	return p->value[low];
}

static int compare_points(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a;
	uint32_t y = *(const uint32_t *)b;
	return x < y ? -1 : x > y;
}

/* Cuts all code points into intervals at which no set changes; ret has room for one more. */
static int cut(const struct cwe_regex *r, uint32_t **ret_first, size_t *ret_count)
{
	size_t room = 2;
	for (size_t i = 0; i < r->n_sets; i++)
		room += 2 * r->set[i].count;
	uint32_t *first = malloc(room * sizeof(*first));
	if (!first)
		return -ENOMEM;
	size_t n = 0;
	first[n++] = 0;
	first[n++] = LOW;
	for (size_t i = 0; i < r->n_sets; i++) {
		for (size_t j = 0; j < r->set[i].count; j++) {
			first[n++] = r->set[i].range[j].first;
			if (r->set[i].range[j].last < CWE_POINT_LAST)
				first[n++] = r->set[i].range[j].last + 1;
		}
	}
	qsort(first, n, sizeof(*first), compare_points);
	size_t kept = 1;
	for (size_t i = 1; i < n; i++) {
		if (first[i] != first[kept - 1])
			first[kept++] = first[i];
	}
	*ret_first = first;
	*ret_count = kept;
	return 0;
}

static int in_set(const struct cwe_charset *s, uint32_t point)
{
	struct cwe_class c = {"", s->range, s->count};
	return cwe_class_has(&c, point);
}

/* Gives every interval its kind: two have the same one when the same sets hold them. Kinds start as
 * one and are split set by set. Returns the count of kinds, or 0 when they are more than CODES. */
static size_t sort_kinds(
	const struct cwe_regex *r, const uint32_t *first, uint8_t *value, size_t count)
{
	size_t kinds = 1;
	memset(value, 0, count);
	for (size_t s = 0; s < r->n_sets; s++) {
		int twin[CODES];          /* of a kind: the new one for its members of this set */
		unsigned char out[CODES]; /* whether a kind has members that are not in the set */
		size_t old = kinds;
		memset(twin, -1, sizeof(twin));
		memset(out, 0, sizeof(out));
		for (size_t i = 0; i < count; i++)
			out[value[i]] |= (unsigned char)!in_set(&r->set[s], first[i]);
		for (size_t i = 0; i < count; i++) {
			uint8_t k = value[i];
			if (k >= old || !out[k] || !in_set(&r->set[s], first[i]))
				continue;
			if (twin[k] < 0) {
				if (kinds == CODES)
					return 0;
				twin[k] = (int)kinds++;
			}
			value[i] = (uint8_t)twin[k];
		}
	}
	return kinds;
}

/* Joins neighbours of one kind, but not across LOW; returns the new count. */
static size_t join_intervals(uint32_t *first, uint8_t *value, size_t count)
{
	size_t n = 1;
	for (size_t i = 1; i < count; i++) {
		if (value[i] == value[n - 1] && first[i] != LOW)
			continue;
		first[n] = first[i];
		value[n++] = value[i];
	}
	return n;
}

struct text {
	char *data;
	size_t length;
};

static void append(struct text *t, const char *more)
{
	size_t n = strlen(more);
	memcpy(t->data + t->length, more, n + 1);
	t->length += n;
}

/* The set as a class of kinds; at most 4 * CODES + 2 characters. */
static void append_set(struct text *t, const struct cwe_charset *set, const uint32_t *first,
	const uint8_t *value, size_t count)
{
	unsigned char has[CODES] = {0};
	for (size_t i = 0; i < count; i++)
		has[value[i]] |= (unsigned char)in_set(set, first[i]);
	append(t, "[");
	for (size_t k = 0; k < CODES; k++) {
		char item[8];
		snprintf(item, sizeof(item), "\\x%02x", (unsigned)k);
		if (has[k])
			append(t, item);
	}
	append(t, "]");
}

static int translate(
	struct cwe_pattern *p, const struct cwe_regex *r, char **ret_pattern, struct cwb_err *err)
{
	uint32_t *first = NULL;
	uint8_t *value = NULL;
	size_t count = 0;
	struct text t = {0};
	int rc = cut(r, &first, &count);
	if (rc == 0) {
		value = malloc(count);
		t.data = calloc(r->n_parts + 1, 4 * CODES + 32);
	}
	if (!value || !t.data) {
		rc = cwb_err_set(err, -ENOMEM, "%s: out of memory", p->place);
		goto out;
	}
	if (sort_kinds(r, first, value, count) == 0) {
		rc = cwb_err_set(err, CWP_ELIMIT,
			"%s: the pattern tells more than %d kinds of characters apart", p->place,
			CODES);
		goto out;
	}
	count = join_intervals(first, value, count);
	for (size_t i = 0; i < r->n_parts; i++) {
		if (r->part[i].set < 0)
			append(&t, r->part[i].text);
		else
			append_set(&t, &r->set[r->part[i].set], first, value, count);
	}
	size_t high = 0; /* the interval that starts at LOW */
	for (size_t i = 0; i < count; i++) {
		uint32_t end = i + 1 < count ? first[i + 1] : LOW;
		for (uint32_t point = first[i]; point < end && point < LOW; point++)
			p->low[point] = value[i];
		if (first[i] == LOW)
			high = i;
	}
	p->count = count - high;
	memmove(first, first + high, p->count * sizeof(*first));
	memmove(value, value + high, p->count);
	p->first = first;
	p->value = value;
	*ret_pattern = t.data;
	return 0;
out:
	free(first);
	free(value);
	free(t.data);
	return rc;
}

static int compile(struct cwe_pattern *p, const char *pattern, struct cwb_err *err)
{
	int code;
	PCRE2_SIZE offset;
	uint32_t options = PCRE2_NEVER_UTF;
	/* PCRE2 up to 10.42 takes what is looked ahead at for the start of the match, and then misses
	 * matches: (?=b)a*b in "b". */
	if (strstr(pattern, "(?="))
		options |= PCRE2_NO_START_OPTIMIZE;
	p->code = pcre2_compile(
		(PCRE2_SPTR)pattern, PCRE2_ZERO_TERMINATED, options, &code, &offset, NULL);
	if (!p->code) {
		PCRE2_UCHAR message[160] = "";
		pcre2_get_error_message(code, message, sizeof(message));
		return cwb_err_set(err, CWP_EFORMAT, "%s: not a regular expression: %s", p->place,
			(const char *)message);
	}
	/* Where it is not available the interpreter gives the same matches. */
	size_t size = 0;
	p->compiled = pcre2_jit_compile(p->code, PCRE2_JIT_COMPLETE) == 0 &&
		      pcre2_pattern_info(p->code, PCRE2_INFO_JITSIZE, &size) == 0 && size > 0;
	return 0;
}

int cwe_pattern_new(const char *pattern, size_t length, const char *place, struct cwe_pattern **ret,
	struct cwb_err *err)
{
	struct cwe_regex regex;
	char *text = NULL;
	struct cwe_pattern *p = calloc(1, sizeof(*p));
	if (!p || !(p->place = strdup(place)) || pthread_mutex_init(&p->lock, NULL) != 0) {
		if (p)
			free(p->place);
		free(p);
		return cwb_err_set(err, -ENOMEM, "%s: out of memory", place);
	}
	int rc = cwe_regex_read(pattern, length, place, &regex, err);
	if (rc == 0)
		rc = translate(p, &regex, &text, err);
	if (rc == 0)
		rc = compile(p, text, err);
	cwe_regex_free(&regex);
	free(text);
	if (rc < 0) {
		cwe_pattern_free(p);
		return rc;
	}
	*ret = p;
	return 0;
}

static void destroy(struct cwe_matcher *m)
{
	pcre2_match_data_free(m->data);
	pcre2_match_context_free(m->context);
	pcre2_jit_stack_free(m->stack);
	free(m->kind);
	free(m);
}

void cwe_pattern_free(struct cwe_pattern *p)
{
	if (!p)
		return;
	for (struct cwe_matcher *m = p->idle, *next; m; m = next) {
		next = m->next;
		destroy(m);
	}
	pthread_mutex_destroy(&p->lock);
	pcre2_code_free(p->code);
	free(p->place);
	free(p->first);
	free(p->value);
	free(p);
}

int cwe_pattern_may_be_empty(const struct cwe_pattern *p)
{
	uint32_t empty = 1;
	return pcre2_pattern_info(p->code, PCRE2_INFO_MATCHEMPTY, &empty) != 0 || empty != 0;
}

static int prepare(struct cwe_matcher *m)
{
	m->data = pcre2_match_data_create(1, NULL);
	m->context = pcre2_match_context_create(NULL);
	if (!m->data || !m->context)
		return -ENOMEM;
	pcre2_set_match_limit(m->context, MATCH_LIMIT);
	pcre2_set_heap_limit(m->context, HEAP_LIMIT);
	if (m->pattern->compiled) {
		m->stack = pcre2_jit_stack_create(STACK_START, STACK_LIMIT, NULL);
		if (!m->stack)
			return -ENOMEM;
		pcre2_jit_stack_assign(m->context, NULL, m->stack);
	}
	return 0;
}

int cwe_matcher_new(struct cwe_pattern *p, struct cwe_matcher **ret, struct cwb_err *err)
{
	struct cwe_matcher *m;
	pthread_mutex_lock(&p->lock);
	m = p->idle;
	if (m)
		p->idle = m->next;
	pthread_mutex_unlock(&p->lock);
	if (!m) {
		m = calloc(1, sizeof(*m));
		if (!m)
			return cwb_err_set(err, -ENOMEM, "out of memory");
		m->pattern = p;
		if (prepare(m) < 0) {
			destroy(m);
			return cwb_err_set(err, -ENOMEM, "out of memory");
		}
	}
	*ret = m;
	return 0;
}

void cwe_matcher_free(struct cwe_matcher *m)
{
	if (!m)
		return;
	if (m->room > KEEP) {
		free(m->kind);
		m->kind = NULL;
		m->room = 0;
	}
	pthread_mutex_lock(&m->pattern->lock);
	m->next = m->pattern->idle;
	m->pattern->idle = m;
	pthread_mutex_unlock(&m->pattern->lock);
}

int cwe_matcher_start(struct cwe_matcher *m, const char *text, size_t length, struct cwb_err *err)
{
	/* The compiled matcher reads whole vectors, also across the end: those bytes are there and
	 * have a value. */
	size_t room = (length / PADDING + 2) * PADDING;
	if (room > m->room) {
		free(m->kind);
		m->kind = aligned_alloc(PADDING, room);
		m->room = m->kind ? room : 0;
		if (!m->kind)
			return cwb_err_set(
				err, -ENOMEM, "out of memory for a text of %zu bytes", length);
	}
	m->text = text;
	m->length = length;
	m->points = m->at = m->last_end = m->seen_point = m->seen_byte = 0;
	m->matched = 0;
	for (size_t i = 0; i < length;) {
		uint32_t point = (unsigned char)text[i];
		if (point < 0x80) {
			m->kind[m->points++] = m->pattern->low[point];
			i++;
			continue;
		}
		size_t n = cwe_utf8_next(text + i, length - i, &point);
		i += n > 0 ? n : 1;
		m->kind[m->points++] = kind_of(m->pattern, point);
	}
	memset(m->kind + m->points, 0, PADDING);
	return 0;
}

/* The byte of a character at or behind the last one asked for. */
static size_t byte_of(struct cwe_matcher *m, size_t point)
{
	if (m->points == m->length)
		return point;
	while (m->seen_point < point) {
		do
			m->seen_byte++;
		while (m->seen_byte < m->length &&
			((unsigned char)m->text[m->seen_byte] & 0xC0) == 0x80);
		m->seen_point++;
	}
	return m->seen_byte;
}

int cwe_matcher_next(struct cwe_matcher *m, size_t *ret_start, size_t *ret_end, struct cwb_err *err)
{
	while (m->at <= m->points) {
		/* The first does not look at its arguments first: nothing of them can be wrong. */
		int rc = m->pattern->compiled ? pcre2_jit_match(m->pattern->code, m->kind,
							m->points, m->at, 0, m->data, m->context)
					      : pcre2_match(m->pattern->code, m->kind, m->points,
							m->at, 0, m->data, m->context);
		if (rc == PCRE2_ERROR_NOMATCH)
			break;
		if (rc < 0) {
			PCRE2_UCHAR message[160] = "";
			pcre2_get_error_message(rc, message, sizeof(message));
			return cwb_err_set(err, CWP_ELIMIT,
				"%s: %s, at character %zu of a text of %zu: split the text",
				m->pattern->place, (const char *)message, m->at, m->points);
		}
		const PCRE2_SIZE *match = pcre2_get_ovector_pointer(m->data);
		if (match[0] == match[1] && m->matched && match[1] == m->last_end) {
			m->at++;
			continue;
		}
		m->at = m->last_end = match[1];
		m->matched = 1;
		*ret_start = byte_of(m, match[0]);
		*ret_end = byte_of(m, match[1]);
		return 1;
	}
	return 0;
}
