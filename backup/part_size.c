#include "backup/part_size.h"

#define MIB ((uint64_t)1 << 20)

uint64_t part_size_choose(int64_t estimate, uint64_t smallest, unsigned max_parts)
{
	uint64_t est25, usable = (uint64_t)max_parts * 9 / 10, size;

	if (smallest < PART_MIN)
		smallest = PART_MIN;
	if (estimate < 0)
		return smallest > 64 * MIB ? smallest : 64 * MIB;
	/* At most 2^63 + 2^61: no overflow. */
	est25 = (uint64_t)estimate + (uint64_t)estimate / 4;
	if (usable == 0)
		return 0;
	size = est25 / usable + (est25 % usable != 0);
	size = (size + MIB - 1) / MIB * MIB;
	if (size < smallest)
		size = smallest;
	return size > PART_MAX ? 0 : size;
}

uint64_t part_size_growing(unsigned number)
{
	unsigned steps = number > 0 ? (number - 1) / 1000 : 0;

	/* 8 MiB doubled ten times is beyond the most that a part may have. */
	return steps >= 10 ? PART_MAX : PART_SMALLEST_CHOSEN << steps;
}
