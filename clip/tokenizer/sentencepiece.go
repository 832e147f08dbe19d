package tokenizer

import (
	"errors"
	"fmt"
	"math"

	"google.golang.org/protobuf/encoding/protowire"
)

// maxPieces bounds a vocabulary; the largest of a CLIP is 256,000.
const maxPieces = 1 << 20

// readSentencePiece reads a Unigram model (sentencepiece's src/sentencepiece_model.proto, ModelProto).
func readSentencePiece(data []byte) (m unigramModel, err error) {
	m.dummyPrefix, m.removeSpaces, m.escapeSpaces = true, true, true
	err = fields(data, func(number protowire.Number, n uint64, body []byte) error {
		switch number {
		case 1:
			if len(m.pieces) == maxPieces {
				return fmt.Errorf("it has more than %d pieces", maxPieces)
			}
			p, err := readPiece(body)
			m.pieces = append(m.pieces, p)
			return err
		case 2:
			return m.readTrainer(body)
		case 3:
			return m.readNormalizer(body)
		}
		return nil
	})
	m.size = len(m.pieces)
	return m, err
}

func readPiece(data []byte) (scored, error) {
	p := scored{kind: normal}
	err := fields(data, func(number protowire.Number, n uint64, body []byte) error {
		switch number {
		case 1:
			p.text = string(body)
		case 2:
			p.score = math.Float32frombits(uint32(n))
		case 3:
			if n < uint64(normal) || n > uint64(byteValue) {
				return fmt.Errorf("piece %q is of the type %d; there are 1 to 6", p.text, n)
			}
			p.kind = kind(n)
		}
		return nil
	})
	return p, err
}

// readTrainer reads what of TrainerSpec changes how a text is split.
func (m *unigramModel) readTrainer(data []byte) error {
	return fields(data, func(number protowire.Number, n uint64, body []byte) error {
		switch number {
		case 3:
			if n != 1 {
				return fmt.Errorf("it is not a Unigram model (model_type %d, not 1)", n)
			}
		case 24:
			if n != 0 {
				return errors.New("it was trained with treat_whitespace_as_suffix, which no supported model is")
			}
		case 35:
			m.byteFallback = n != 0
		}
		return nil
	})
}

func (m *unigramModel) readNormalizer(data []byte) error {
	return fields(data, func(number protowire.Number, n uint64, body []byte) error {
		switch number {
		case 2:
			m.charsmap = body
		case 3:
			m.dummyPrefix = n != 0
		case 4:
			m.removeSpaces = n != 0
		case 5:
			m.escapeSpaces = n != 0
		}
		return nil
	})
}

// fields calls f with each field of a protobuf message: its number, and its value where it is a number, or its bytes.
func fields(data []byte, f func(number protowire.Number, n uint64, body []byte) error) error {
	for len(data) > 0 {
		number, wire, size := protowire.ConsumeTag(data)
		if size < 0 {
			return errors.New("it is not a sentencepiece model, or is cut off")
		}
		data = data[size:]
		var n uint64
		var body []byte
		switch wire {
		case protowire.VarintType:
			n, size = protowire.ConsumeVarint(data)
		case protowire.Fixed32Type:
			var v uint32
			v, size = protowire.ConsumeFixed32(data)
			n = uint64(v)
		case protowire.BytesType:
			body, size = protowire.ConsumeBytes(data)
		default:
			size = protowire.ConsumeFieldValue(number, wire, data)
		}
		if size < 0 {
			return errors.New("it is not a sentencepiece model, or is cut off")
		}
		data = data[size:]
		if err := f(number, n, body); err != nil {
			return err
		}
	}
	return nil
}
