/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Conversations as text, by a chat format. */
#include "engine/text/chat.h"

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "engine/text/chat_format.h"
#include "engine/text/classes.h"
#include "engine/text/utf8.h"

static const char *const role_names[CWE_CHAT_ROLES] = {"system", "user", "assistant"};

void cwe_chat_free(struct cwe_chat *chat)
{
	if (!chat)
		return;
	json_decref(chat->json);
	free(chat);
}

const char *cwe_chat_name(const struct cwe_chat *chat)
{
	return chat->name;
}

/* A part of a text that belongs to somebody else. */
struct span {
	const char *data;
	size_t length;
};

/* White space as Python's strip() has it: White_Space and the four separators of ASCII. */
static int is_space(const struct cwe_class *space, uint32_t point)
{
	return cwe_class_has(space, point) || (point >= 0x1C && point <= 0x1F);
}

static struct span trim(struct span s)
{
	const struct cwe_class *space = cwe_class_find("s", 1);
	uint32_t point;
	size_t n;
	while ((n = cwe_utf8_next(s.data, s.length, &point)) > 0 && is_space(space, point)) {
		s.data += n;
		s.length -= n;
	}
	while (s.length > 0) {
		size_t start = cwe_utf8_before(s.data, s.length);
		if (cwe_utf8_next(s.data + start, s.length - start, &point) == 0 ||
			!is_space(space, point))
			break;
		s.length = start;
	}
	return s;
}

static struct span without_line_ends(struct span s, int front, int back)
{
	while (front && s.length > 0 && *s.data == '\n') {
		s.data++;
		s.length--;
	}
	while (back && s.length > 0 && s.data[s.length - 1] == '\n')
		s.length--;
	return s;
}

struct text {
	char *data;
	size_t length, room;
	int failed;
};

static void put_bytes(struct text *t, const char *more, size_t length)
{
	if (t->failed || t->room - t->length <= length) {
		size_t room;
		char *data = NULL;
		if (!t->failed && !__builtin_add_overflow(2 * t->room + 256, length, &room))
			data = realloc(t->data, room);
		if (!data) {
			t->failed = 1;
			return;
		}
		t->data = data;
		t->room = room;
	}
	if (length > 0)
		memcpy(t->data + t->length, more, length);
	t->length += length;
	t->data[t->length] = '\0';
}

static void put(struct text *t, const char *more)
{
	put_bytes(t, more, strlen(more));
}

static void put_span(struct text *t, struct span s)
{
	put_bytes(t, s.data, s.length);
}

/* One conversation, checked. */
struct conversation {
	const struct cwe_chat *chat;
	const struct cwe_message *message;
	size_t count;
	size_t last_user; /* count: there is none */
};

static int role_of(const struct cwe_message *m, size_t number, struct cwb_err *err)
{
	for (int i = 0; i < CWE_CHAT_ROLES; i++) {
		if (strcmp(m->role, role_names[i]) == 0)
			return i;
	}
	return cwb_err_set(err, CWP_EUNKNOWN,
		"message %zu: role \"%.40s\" is neither system, user nor assistant", number + 1,
		m->role);
}

/* Whether a system message may stand here. */
static int check_system(const struct conversation *c, size_t number, struct cwb_err *err)
{
	const struct cwe_chat *chat = c->chat;
	if (chat->place == CWE_CHAT_REFUSED)
		return cwb_err_set(err, CWP_EVALUE,
			"message %zu: chat format \"%s\" has no system messages; put the text into "
			"the first user message",
			number + 1, chat->name);
	if (number > 0 && (chat->place != CWE_CHAT_MESSAGE || chat->alternate))
		return cwb_err_set(err, CWP_EVALUE,
			"message %zu: chat format \"%s\" takes a system message only in front of "
			"all others",
			number + 1, chat->name);
	return 0;
}

static int check_conversation(struct conversation *c, struct cwb_err *err)
{
	size_t turn = 0;
	c->last_user = c->count;
	if (c->count == 0)
		return cwb_err_set(err, CWP_EMISSING, "a conversation without messages");
	for (size_t i = 0; i < c->count; i++) {
		int role = role_of(&c->message[i], i, err);
		if (role < 0)
			return role;
		if (role == CWE_CHAT_SYSTEM) {
			int rc = check_system(c, i, err);
			if (rc < 0)
				return rc;
			continue;
		}
		if (role == CWE_CHAT_USER)
			c->last_user = i;
		if (c->chat->alternate && (role == CWE_CHAT_USER) != (turn % 2 == 0))
			return cwb_err_set(err, CWP_EVALUE,
				"message %zu: role \"%s\" where chat format \"%s\" wants \"%s\": "
				"user and assistant take turns, and the user begins",
				i + 1, role_names[role], c->chat->name,
				role_names[turn % 2 == 0 ? CWE_CHAT_USER : CWE_CHAT_ASSISTANT]);
		turn++;
	}
	if (c->chat->place != CWE_CHAT_MESSAGE && c->last_user == c->count)
		return cwb_err_set(err, CWP_EVALUE,
			"chat format \"%s\" needs a user's message, and there is none",
			c->chat->name);
	return 0;
}

/* The system text that goes into a user's turn: NULL data where there is none. */
static struct span folded(const struct conversation *c)
{
	if (c->chat->place == CWE_CHAT_MESSAGE)
		return (struct span){NULL, 0};
	if (strcmp(c->message[0].role, role_names[CWE_CHAT_SYSTEM]) == 0)
		return (struct span){c->message[0].content, c->message[0].length};
	const char *text = c->chat->default_system;
	return (struct span){text, text ? strlen(text) : 0};
}

static void put_system(struct text *t, const struct cwe_chat *chat, struct span content, int first)
{
	const struct cwe_chat_part *part = &chat->part[CWE_CHAT_SYSTEM];
	if (chat->skip_empty && content.length == 0)
		return;
	put(t, part->prefix);
	put(t, first ? chat->lead : "");
	put_span(t, part->trim == CWE_CHAT_TRIM_CONTENT ? trim(content) : content);
	put(t, part->suffix);
}

static void put_user(struct text *t, const struct conversation *c, size_t number, int first)
{
	const struct cwe_chat *chat = c->chat;
	const struct cwe_chat_part *part = &chat->part[CWE_CHAT_USER];
	const struct cwe_chat_part *system = &chat->part[CWE_CHAT_SYSTEM];
	struct span content = {c->message[number].content, c->message[number].length};
	struct span text = folded(c);
	struct text turn = {0};
	if (part->trim == CWE_CHAT_TRIM_CONTENT)
		content = trim(content);
	if (text.data && (chat->place == CWE_CHAT_FIRST_USER ? first : number == c->count - 1)) {
		put(&turn, system->prefix);
		put_span(&turn, system->trim == CWE_CHAT_TRIM_CONTENT ? trim(text) : text);
		put(&turn, system->suffix);
	}
	put_span(&turn, content);
	t->failed |= turn.failed;
	if (!turn.failed) {
		struct span whole = {turn.data, turn.length};
		put(t, part->prefix);
		put_span(t, part->trim == CWE_CHAT_TRIM_TURN ? trim(whole) : whole);
		put(t, part->suffix);
	}
	free(turn.data);
}

/* The last byte behind the last `mark` in s; s itself when there is none. */
static struct span behind_last(struct span s, const char *mark)
{
	size_t n = strlen(mark);
	for (size_t i = s.length; i >= n; i--) {
		if (memcmp(s.data + i - n, mark, n) == 0)
			return (struct span){s.data + i, s.length - i};
	}
	return s;
}

/* Splits reasoning off an assistant's content: what stands between open and close. */
static struct span take_reasoning(const struct cwe_chat *chat, struct span *content)
{
	size_t n = strlen(chat->close);
	struct span reasoning = {content->data, 0};
	const char *end =
		content->length > 0 ? memmem(content->data, content->length, chat->close, n) : NULL;
	if (!end)
		return reasoning;
	reasoning.length = (size_t)(end - content->data);
	reasoning = behind_last(without_line_ends(reasoning, 0, 1), chat->open);
	*content = without_line_ends(behind_last(*content, chat->close), 1, 0);
	return without_line_ends(reasoning, 1, 1);
}

/* open: without what ends the message, where it is the last one. */
static void put_assistant(struct text *t, const struct conversation *c, size_t number, int open)
{
	const struct cwe_chat *chat = c->chat;
	const struct cwe_chat_part *part = &chat->part[CWE_CHAT_ASSISTANT];
	struct span content = {c->message[number].content, c->message[number].length};
	int last = number == c->count - 1;
	put(t, part->prefix);
	if (chat->open) {
		struct span reasoning = take_reasoning(chat, &content);
		if (number > c->last_user && (last || reasoning.length > 0)) {
			put(t, chat->before);
			put_span(t, reasoning);
			put(t, chat->after);
			content = without_line_ends(content, 1, 0);
		}
	}
	put_span(t, part->trim == CWE_CHAT_TRIM_CONTENT ? trim(content) : content);
	if (!last || !open)
		put(t, last ? chat->last_suffix : part->suffix);
}

enum ending { ENDED, GENERATION, OPEN };

static int render(const struct cwe_chat *chat, const struct cwe_message *message, size_t count,
	enum ending ending, struct text *ret, struct cwb_err *err)
{
	struct conversation c = {chat, message, count, 0};
	struct text t = {0};
	int users = 0;
	int rc = check_conversation(&c, err);
	if (rc < 0)
		return rc;
	put(&t, chat->begin);
	if (chat->place == CWE_CHAT_MESSAGE && chat->default_system &&
		strcmp(message[0].role, role_names[CWE_CHAT_SYSTEM]) != 0)
		put_system(&t, chat,
			(struct span){chat->default_system, strlen(chat->default_system)}, 1);
	for (size_t i = 0; i < count; i++) {
		int role = role_of(&message[i], i, NULL);
		if (role == CWE_CHAT_USER)
			put_user(&t, &c, i, users++ == 0);
		else if (role == CWE_CHAT_ASSISTANT)
			put_assistant(&t, &c, i, ending == OPEN);
		else if (chat->place == CWE_CHAT_MESSAGE)
			put_system(&t, chat, (struct span){message[i].content, message[i].length},
				i == 0);
	}
	if (ending != OPEN)
		put(&t, ending == GENERATION ? chat->generation : chat->end);
	if (t.failed) {
		free(t.data);
		return cwb_err_set(
			err, -ENOMEM, "out of memory for a conversation of %zu messages", count);
	}
	*ret = t;
	return 0;
}

int cwe_chat_render(const struct cwe_chat *chat, const struct cwe_message *message, size_t count,
	int generation_prompt, char **ret_text, size_t *ret_length, struct cwb_err *err)
{
	struct text t;
	int rc = render(chat, message, count, generation_prompt ? GENERATION : ENDED, &t, err);
	if (rc < 0)
		return rc;
	*ret_text = t.data;
	*ret_length = t.length;
	return 0;
}

int cwe_chat_exchange(const struct cwe_chat *chat, const struct cwe_message exchange[2],
	char **ret_text, size_t *ret_length, size_t *ret_first, struct cwb_err *err)
{
	struct text whole, asked;
	size_t n = 0;
	int rc = render(chat, exchange, 2, OPEN, &whole, err);
	if (rc < 0)
		return rc;
	rc = render(chat, exchange, 1, GENERATION, &asked, err);
	if (rc < 0) {
		free(whole.data);
		return rc;
	}
	/* The generation prompt is how an answer begins, but for one that has reasoning where the
	 * prompt says that there is none: then it is the answer's from there on. */
	while (n < asked.length && n < whole.length && asked.data[n] == whole.data[n])
		n++;
	while (n > 0 && n < whole.length && ((unsigned char)whole.data[n] & 0xC0) == 0x80)
		n--;
	free(asked.data);
	*ret_text = whole.data;
	*ret_length = whole.length;
	*ret_first = n;
	return 0;
}
