package backend

import "fmt"

// problem is what is wrong with a page, in a byte: most pages that do not parse are no pages at all but the middle of
// a value or free space, and nobody will ask.
type problem uint8

const (
	fine problem = iota
	badFlags
	pastEnd
	tooLarge
	tooManyOverlaps
	elementsOutside
	elementFlags
	dataOutside
	dataGap
	emptyKey
	keyOrder
	emptyBranch
	emptyLeaf
	childRange
	extentOff
	arenaFull
	badFreelist

	// Of entries: they count where the page belongs to the key bucket.
	entryValue
	entryMod
	entryCreate
	entryVersion
	entryNoKey
	entryTwice
)

var problems = map[problem]string{
	badFlags:        "it has flags of no kind of page",
	pastEnd:         "it goes on past the end",
	tooLarge:        fmt.Sprintf("it claims more than the %d MiB that a page may have", maxStreamNode>>20),
	tooManyOverlaps: "it lies among more overlapping pages than any database has",
	elementsOutside: "its elements do not fit into it",
	elementFlags:    "an element has flags of no kind",
	dataOutside:     "data of an element lies outside of it",
	dataGap:         "data of an element is not where it belongs",
	emptyKey:        "an element has an empty key",
	keyOrder:        "keys out of order",
	emptyBranch:     "branch page without children",
	emptyLeaf:       "leaf page without entries below a branch, which bbolt removes",
	childRange:      "a child is out of range",
	extentOff:       "its content does not fill the pages that it claims",
	arenaFull:       "the file has more and longer keys in its structure than can be checked as it passes by",
	badFreelist:     "the list of free pages does not parse",
	entryValue:      "an entry's value is not one of etcd's",
	entryMod:        "an entry says another revision than the one that it is stored under",
	entryCreate:     "an entry was created after its own revision, or never",
	entryVersion:    "an entry's version contradicts its revisions",
	entryNoKey:      "an entry has no key",
	entryTwice:      "two entries have the same revision",
}

func (p problem) of(id uint64) error {
	return fmt.Errorf("%w: page %d: %s", ErrCorrupt, id, problems[p])
}
