package nn

import (
	"fmt"
	"reflect"
	"strconv"
	"strings"
)

// Metadata describes c in words, for a file of its weights: a value for each key that is set, and for
// those that are never left out. FromMetadata reads it back.
func (c Config) Metadata() map[string]string {
	m := map[string]string{"stem": c.Stem} // even where it is empty: it tells that the file is moco's
	v := reflect.ValueOf(c)
	for i := range v.NumField() {
		key, options, _ := strings.Cut(v.Type().Field(i).Tag.Get("yaml"), ",")
		field := v.Field(i)
		if options == "omitempty" && field.IsZero() {
			continue
		}
		switch x := field.Interface().(type) {
		case float64:
			m[key] = strconv.FormatFloat(x, 'g', -1, 64)
		default:
			m[key] = strings.Trim(fmt.Sprint(x), "[]") // a list is "2 2 2 2"
		}
	}
	return m
}

// FromMetadata is the config that Metadata has described. It is not checked. Metadata without one of
// the numbers that every encoder has is refused.
func FromMetadata(m map[string]string) (Config, error) {
	var c Config
	v := reflect.ValueOf(&c).Elem()
	for i := range v.NumField() {
		key, options, _ := strings.Cut(v.Type().Field(i).Tag.Get("yaml"), ",")
		text, there := m[key]
		if (!there || text == "") && options == "omitempty" {
			continue
		}
		if !there {
			return c, fmt.Errorf("its metadata gives no %s", key)
		}
		if err := read(v.Field(i), text); err != nil {
			return c, fmt.Errorf("its metadata gives %q for %s: %w", text, key, err)
		}
	}
	return c, nil
}

// read sets a field from text.
func read(field reflect.Value, text string) (err error) {
	switch to := field.Addr().Interface().(type) {
	case *string:
		*to = text
	case *int:
		*to, err = strconv.Atoi(text)
	case *float64:
		*to, err = strconv.ParseFloat(text, 64)
	case *bool:
		*to, err = strconv.ParseBool(text)
	case *[]int:
		for word := range strings.FieldsSeq(text) {
			n, e := strconv.Atoi(word)
			if e != nil {
				return e
			}
			*to = append(*to, n)
		}
	default:
		err = fmt.Errorf("a %v cannot be read", field.Type())
	}
	return err
}
