package keyspace

import (
	"debug/elf"
	"errors"
	"fmt"
	"io"
)

// symbols are the addresses a stripped server still tells: servers are linked
// with -rdynamic so that modules can call them, which puts every global of
// the program into .dynsym.
type symbols struct {
	server     span   // struct redisServer server
	dbDictType uint64 // the type of every database's main dictionary
	commands   uint64 // commandTableDictType: the type of the command tables
}

// readSymbols reads .dynsym of the executable and adds the load bias.
func readSymbols(r io.ReaderAt, base uint64) (symbols, error) {
	f, err := elf.NewFile(r)
	if err != nil {
		return symbols{}, fmt.Errorf("reading the executable's ELF header: %w", err)
	}
	bias := uint64(0)
	if f.Type == elf.ET_DYN {
		bias = base
	}
	dyn, err := f.DynamicSymbols()
	if err != nil && !errors.Is(err, elf.ErrNoSymbols) {
		return symbols{}, fmt.Errorf("reading the executable's dynamic symbols: %w", err)
	}
	var s symbols
	for _, sym := range dyn {
		if elf.ST_TYPE(sym.Info) != elf.STT_OBJECT || sym.Section == elf.SHN_UNDEF {
			continue
		}
		addr := sym.Value + bias
		switch sym.Name {
		case "server":
			s.server = span{addr, addr + sym.Size}
		case "dbDictType":
			s.dbDictType = addr
		case "commandTableDictType":
			s.commands = addr
		}
	}
	switch {
	case s.server.end <= s.server.start || s.server.end-s.server.start > maxRead:
		return symbols{}, fmt.Errorf("%w: its executable has no symbol named server: not a Redis or Valkey server", ErrUnsupportedLayout)
	case s.dbDictType == 0 || s.commands == 0:
		return symbols{}, fmt.Errorf("%w: its executable has no dbDictType or no commandTableDictType", ErrUnsupportedLayout)
	}
	return s, nil
}
