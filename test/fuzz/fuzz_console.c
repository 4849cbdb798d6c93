/* Fuzz target: the text of a console command. */
#include <assert.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "admin/command.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
	char *text = malloc(len + 1);
	struct command c;

	if (!text)
		return 0;
	memcpy(text, bytes, len);
	text[len] = 0;
	if (command_parse(text, &c) == COMMAND_OK) {
		assert(strlen(c.verb) <= COMMAND_VERB_MAX && strlen(c.verb) <= len);
		assert(strlen(c.argument) <= COMMAND_ARGUMENT_MAX && strlen(c.argument) <= len);
		assert(strlen(c.value) <= COMMAND_VALUE_MAX && strlen(c.value) <= len);
		assert(c.has_argument || !c.argument[0]);
		assert(c.is_set ? c.has_argument : !c.value[0]);
	}
	free(text);
	return 0;
}
