package event

import (
	"bytes"
	"reflect"
	"unicode/utf8"

	"moco/internal/text"
)

// lost is how encoding/json writes a byte that is no UTF-8, whichever it is.
var lost = []byte(`\ufffd`)

// asText returns a copy of an event in which every string is UTF-8: paths that a command line gives
// may have any bytes, and each of them has to stay another.
func asText(e Event) any {
	v := reflect.New(reflect.TypeOf(e)).Elem()
	v.Set(reflect.ValueOf(e))
	rewrite(v)
	return v.Interface()
}

// maybeLost tells whether a string of an event may have lost bytes on its way to JSON.
func maybeLost(json []byte) bool { return bytes.Contains(json, lost) }

// rewrite makes text of all strings that v holds. What v points to is copied before.
func rewrite(v reflect.Value) {
	if !v.CanSet() {
		return // an unexported field, which is not written
	}
	switch v.Kind() {
	case reflect.String:
		if !utf8.ValidString(v.String()) {
			v.SetString(text.Name(v.String()))
		}
	case reflect.Struct:
		for i := range v.NumField() {
			rewrite(v.Field(i))
		}
	case reflect.Pointer, reflect.Interface:
		if v.IsNil() {
			return
		}
		inner := reflect.New(v.Elem().Type())
		inner.Elem().Set(v.Elem())
		rewrite(inner.Elem())
		if v.Kind() == reflect.Pointer {
			v.Set(inner)
		} else {
			v.Set(inner.Elem())
		}
	case reflect.Slice:
		if v.Len() == 0 || v.Type().Elem().Kind() == reflect.Uint8 {
			return
		}
		list := reflect.MakeSlice(v.Type(), v.Len(), v.Len())
		reflect.Copy(list, v)
		for i := range list.Len() {
			rewrite(list.Index(i))
		}
		v.Set(list)
	case reflect.Map:
		if v.IsNil() {
			return
		}
		all := reflect.MakeMap(v.Type())
		for it := v.MapRange(); it.Next(); {
			key, value := reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem()
			key.Set(it.Key())
			value.Set(it.Value())
			rewrite(key)
			rewrite(value)
			all.SetMapIndex(key, value)
		}
		v.Set(all)
	}
}
