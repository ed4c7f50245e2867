package sampler

import "sort"

// hotnessRates are the access rates at which the levels 1 to 7 begin, in
// accesses per second: one an hour, a minute, ten seconds, a second, then
// ten, a hundred and a thousand a second.
var hotnessRates = [...]float64{1. / 3600, 1. / 60, 1. / 10, 1, 10, 100, 1000}

// Hotness is a rate as a level from 0, idle, to 7.
func Hotness(rate float64) int {
	return sort.Search(len(hotnessRates), func(i int) bool { return rate < hotnessRates[i] })
}
