// Command tlogverify checks a log of Fastness with the transparency-log packages of the Go project.
//
// It verifies the checkpoint's signature, then for every entry: its bytes against the leaf hash that the tiles prove
// under the signed root (and for one entry a bundle the inclusion proof spelt out); and that the log is consistent with each of the sizes given, or with a spread of
// sizes where none is given. It prints one line, or what is wrong, and exits non-zero on the first fault.
//
//	tlogverify VKEY DIR [SIZE...]
//
// DIR holds checkpoint and tile/, as C2SP tlog-tiles lays them out.
package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

const (
	height = 8
	width  = 1 << height
)

// folder reads tiles of a log from the file system.
type folder string

func (f folder) Height() int { return height }

// SaveTiles is asked for by tlog.TileReader; the tiles are on the disk already.
func (f folder) SaveTiles([]tlog.Tile, [][]byte) {}

func (f folder) ReadTiles(tiles []tlog.Tile) ([][]byte, error) {
	all := make([][]byte, 0, len(tiles))
	for _, tile := range tiles {
		data, err := os.ReadFile(f.path(tile))
		if err != nil {
			return nil, err
		}
		all = append(all, data)
	}
	return all, nil
}

// path turns the package's own name of a tile, tile/8/LEVEL/N, into that of tlog-tiles, tile/LEVEL/N.
func (f folder) path(tile tlog.Tile) string {
	name := strings.TrimPrefix(tile.Path(), "tile/8/")
	if rest := strings.TrimPrefix(name, "data/"); rest != name {
		name = "entries/" + rest
	}
	return filepath.Join(string(f), "tile", filepath.FromSlash(name))
}

// bundle returns the entries of one bundle of a log of this size.
func (f folder) bundle(number, size int64) ([][]byte, error) {
	count := size - number*width
	if count > width {
		count = width
	}
	data, err := os.ReadFile(f.path(tlog.Tile{H: height, L: -1, N: number, W: int(count)}))
	if err != nil {
		return nil, err
	}
	var entries [][]byte
	for len(data) > 0 {
		if len(data) < 2 {
			return nil, fmt.Errorf("bundle %d: half a length", number)
		}
		length := int(binary.BigEndian.Uint16(data))
		if len(data) < 2+length {
			return nil, fmt.Errorf("bundle %d: half an entry", number)
		}
		entries = append(entries, data[2:2+length])
		data = data[2+length:]
	}
	if int64(len(entries)) != count {
		return nil, fmt.Errorf("bundle %d: %d entries instead of %d", number, len(entries), count)
	}
	return entries, nil
}

// open verifies the signature of the checkpoint and returns the tree it names.
func open(vkey string, text []byte) (tree tlog.Tree, err error) {
	verifier, err := note.NewVerifier(strings.TrimSpace(vkey))
	if err != nil {
		return tree, err
	}
	signed, err := note.Open(text, note.VerifierList(verifier))
	if err != nil {
		return tree, err
	}
	lines := strings.Split(signed.Text, "\n")
	if len(lines) != 4 || lines[0] != verifier.Name() || lines[3] != "" {
		return tree, errors.New("checkpoint: not origin, size and root")
	}
	if tree.N, err = strconv.ParseInt(lines[1], 10, 64); err != nil {
		return tree, err
	}
	tree.Hash, err = tlog.ParseHash(lines[2])
	return tree, err
}

func checkEntries(dir folder, tree tlog.Tree, hashes tlog.HashReader) error {
	for number := int64(0); number*width < tree.N; number++ {
		entries, err := dir.bundle(number, tree.N)
		if err != nil {
			return err
		}
		indexes := make([]int64, len(entries))
		for place := range entries {
			indexes[place] = tlog.StoredHashIndex(0, number*width+int64(place))
		}
		leaves, err := hashes.ReadHashes(indexes)
		if err != nil {
			return fmt.Errorf("leaves of bundle %d: %w", number, err)
		}
		for place, entry := range entries {
			if tlog.RecordHash(entry) != leaves[place] {
				return fmt.Errorf("entry %d: not the one that was logged", number*width+int64(place))
			}
		}
		last := number*width + int64(len(entries)) - 1
		proof, err := tlog.ProveRecord(tree.N, last, hashes)
		if err != nil {
			return fmt.Errorf("entry %d: %w", last, err)
		}
		if err := tlog.CheckRecord(proof, tree.N, tree.Hash, last, leaves[len(leaves)-1]); err != nil {
			return fmt.Errorf("entry %d: %w", last, err)
		}
	}
	return nil
}

func checkSizes(tree tlog.Tree, hashes tlog.HashReader, sizes []int64) error {
	for _, old := range sizes {
		root, err := tlog.TreeHash(old, hashes)
		if err != nil {
			return fmt.Errorf("root at %d: %w", old, err)
		}
		proof, err := tlog.ProveTree(tree.N, old, hashes)
		if err != nil {
			return fmt.Errorf("consistency with %d: %w", old, err)
		}
		if err := tlog.CheckTree(proof, tree.N, tree.Hash, old, root); err != nil {
			return fmt.Errorf("consistency with %d: %w", old, err)
		}
	}
	return nil
}

func run(arguments []string) error {
	if len(arguments) < 2 {
		return errors.New("usage: tlogverify VKEY DIR [SIZE...]")
	}
	dir := folder(arguments[1])
	text, err := os.ReadFile(filepath.Join(string(dir), "checkpoint"))
	if err != nil {
		return err
	}
	tree, err := open(arguments[0], text)
	if err != nil {
		return err
	}
	var sizes []int64
	for _, argument := range arguments[2:] {
		size, err := strconv.ParseInt(argument, 10, 64)
		if err != nil {
			return err
		}
		sizes = append(sizes, size)
	}
	if len(sizes) == 0 && tree.N > 1 {
		sizes = []int64{1, (tree.N + 1) / 2, tree.N - 1}
	}
	hashes := tlog.TileHashReader(tree, dir)
	if err := checkEntries(dir, tree, hashes); err != nil {
		return err
	}
	if err := checkSizes(tree, hashes, sizes); err != nil {
		return err
	}
	fmt.Printf("ok: %d entries, consistent with %d older sizes\n", tree.N, len(sizes))
	return nil
}

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "tlogverify:", err)
		os.Exit(1)
	}
}
