package h3

import (
	"context"
	"errors"
	"net/http"
	"net/url"

	"github.com/danielgtaylor/huma/v2"

	"riptide/bridge"
	"riptide/bridge/store"
)

// Below the root. The drafts have both names for the collection.
const (
	pathCustomerTGs = "/v1/customertgs"
	pathConsumerTGs = "/v1/consumertgs"
)

type customerReply struct {
	Status       int
	Location     string `header:"Location"`
	ETag         string `header:"ETag"`
	CacheControl string `header:"Cache-Control"`
	Vary         string `header:"Vary"`
	Body         CustomerTG
}

// CustomerTGList is the document at {root}/v1/customertgs.
type CustomerTGList struct {
	TGs []CustomerTG `json:"customertgs"`
}

type customerPath struct {
	ID          string `path:"id" maxLength:"64" doc:"As in the Location of the registration"`
	IfMatch     string `header:"If-Match"`
	IfNoneMatch string `header:"If-None-Match"`
}

// addCustomerTGs enters the collection under both of its names.
func (s *Server) addCustomerTGs(api huma.API) {
	s.addCustomerCollection(api, wellKnownRIPT+pathCustomerTGs, "")
	s.addCustomerCollection(api, wellKnownRIPT+pathConsumerTGs, "-alias")
}

func (s *Server) addCustomerCollection(api huma.API, path, suffix string) {
	operation := func(id, method, path, summary string) huma.Operation {
		return huma.Operation{
			OperationID: id + suffix, Method: method, Path: path, Summary: summary, Deprecated: suffix != "",
			MaxBodyBytes: humaMaxBody, SkipValidateBody: true,
		}
	}
	register := func(ctx context.Context, in *struct{ Body body[CustomerTG] }) (*customerReply, error) {
		return s.registerCustomer(ctx, &in.Body, nil)
	}
	create := operation("register-customer-tg", http.MethodPost, path, "Register the TG at which the client wants its calls, or replace the registration for the same provider TG")
	create.DefaultStatus = http.StatusCreated
	huma.Register(api, create, register)
	put := operation("put-customer-tg", http.MethodPut, path, "The same: what the drafts' older text says")
	put.DefaultStatus = http.StatusCreated
	huma.Register(api, put, register)
	huma.Register(api, operation("list-customer-tgs", http.MethodGet, path, "The registrations of the client that asks"),
		func(ctx context.Context, in *conditional) (*document[*CustomerTGList], error) {
			list, err := s.listCustomers(ctx)
			if err != nil {
				return nil, err
			}
			return cacheable(list, in.IfNoneMatch)
		})
	huma.Register(api, operation("get-customer-tg", http.MethodGet, path+"/{id}", "A registration, without its token"),
		func(ctx context.Context, in *customerPath) (*customerReply, error) {
			c, err := s.customerAt(ctx, in)
			if err != nil {
				return nil, err
			}
			return s.describeCustomer(c, http.StatusOK, in.IfNoneMatch), nil
		})
	huma.Register(api, operation("replace-customer-tg", http.MethodPut, path+"/{id}", "Replace a registration, say with another token; If-Match is required"),
		func(ctx context.Context, in *struct {
			ID      string `path:"id" maxLength:"64"`
			IfMatch string `header:"If-Match"`
			Body    body[CustomerTG]
		}) (*customerReply, error) {
			c, err := s.customerAt(ctx, &customerPath{ID: in.ID, IfMatch: in.IfMatch})
			switch {
			case err != nil:
				return nil, err
			case in.IfMatch == "":
				return nil, refuseHTTP(http.StatusPreconditionRequired, "send If-Match with the ETag of the registration")
			}
			return s.registerCustomer(ctx, &in.Body, c)
		})
	remove := operation("delete-customer-tg", http.MethodDelete, path+"/{id}", "End a registration: no more calls")
	remove.DefaultStatus = http.StatusNoContent
	huma.Register(api, remove, func(ctx context.Context, in *customerPath) (*struct{}, error) {
		c, err := s.customerAt(ctx, in)
		if err != nil {
			return nil, err
		}
		if err := s.customers.delete(ctx, c.TG); err != nil {
			return nil, refuse(bridge.CauseStore.With("the registration could not be deleted"))
		}
		s.log.Info("customer TG removed", "tg", c.TG, "client", c.Client, "uri", c.Doc.URI)
		return nil, nil
	})
}

// registerCustomer makes a registration, or replaces old.
func (s *Server) registerCustomer(ctx context.Context, in *body[CustomerTG], old *customer) (*customerReply, error) {
	doc, err := in.value()
	if err != nil {
		return nil, err
	}
	group, err := s.providerTG(ctx, doc.ProviderTG, old)
	if err != nil {
		return nil, err
	}
	doc.ProviderTG = group.uri
	if err := doc.check(group.cfg, s.cfg.CustomerOAuth, s.cfg.Now()); err != nil {
		return nil, refuse(bridge.CauseOf(err))
	}
	holder, err := s.customers.holder(ctx, doc.URI)
	switch {
	case err != nil:
		return nil, refuse(bridge.CauseStore.With("the registrations could not be read"))
	case holder != "" && holder != group.cfg.Name:
		return nil, refuseHTTP(http.StatusConflict, "uri is registered for another TG: each has one of its own")
	}
	status, revision := http.StatusCreated, uint64(0)
	if old != nil {
		status, revision = http.StatusOK, old.revision
	} else if _, err := s.customers.get(ctx, group.cfg.Name); err == nil {
		status = http.StatusOK
	}
	c := &customer{Client: clientOf(ctx), TG: group.cfg.Name, Doc: doc}
	switch err := s.customers.put(ctx, c, revision); {
	case errors.Is(err, store.ErrConflict):
		return nil, refuseHTTP(http.StatusPreconditionFailed, "the registration was changed in the meantime")
	case err != nil:
		return nil, refuse(bridge.CauseStore.With("the registration could not be stored"))
	}
	s.log.Info("customer TG registered", "tg", c.TG, "client", c.Client, "uri", doc.URI, "destinations", doc.Outbound.Destinations.Allow, "until", doc.TokenExpires)
	return s.describeCustomer(c, status, ""), nil
}

// providerTG is the TG of ours that a registration goes with.
func (s *Server) providerTG(ctx context.Context, uri string, old *customer) (*terminalGroup, error) {
	if uri == "" && old != nil {
		return s.tgs[old.TG], nil
	}
	for _, cfg := range s.cfg.TGs {
		if cfg.ClientID == clientOf(ctx) && (uri == "" || s.tgs[cfg.Name].uri == uri) && (old == nil || old.TG == cfg.Name) {
			return s.tgs[cfg.Name], nil
		}
	}
	return nil, refuse(bridge.CauseBadRequest.With("providertg is not the URI of a TG that this registration could go with"))
}

func (s *Server) describeCustomer(c *customer, status int, ifNoneMatch string) *customerReply {
	out := &customerReply{
		Status: status, ETag: c.etag(), CacheControl: "private, no-cache", Vary: "Authorization", Body: c.shown(),
		Location: s.base + wellKnownRIPT + pathCustomerTGs + "/" + url.PathEscape(c.TG),
	}
	if matches(ifNoneMatch, out.ETag) {
		out.Status = http.StatusNotModified
	}
	return out
}

func (s *Server) listCustomers(ctx context.Context) (*CustomerTGList, error) {
	list := &CustomerTGList{TGs: []CustomerTG{}}
	for _, cfg := range s.cfg.TGs {
		if cfg.ClientID != clientOf(ctx) {
			continue
		}
		c, err := s.customers.get(ctx, cfg.Name)
		switch {
		case errors.Is(err, store.ErrNotFound):
		case err != nil:
			return nil, refuse(bridge.CauseStore.With("the registrations could not be read"))
		default:
			list.TGs = append(list.TGs, c.shown())
		}
	}
	return list, nil
}

// customerAt finds the registration of a request and checks If-Match.
func (s *Server) customerAt(ctx context.Context, in *customerPath) (*customer, error) {
	none := refuseHTTP(http.StatusNotFound, "no such registration")
	group := s.tgs[in.ID]
	if group == nil || group.cfg.ClientID != clientOf(ctx) {
		return nil, none
	}
	c, err := s.customers.get(ctx, in.ID)
	switch {
	case errors.Is(err, store.ErrNotFound), err == nil && c.Client != clientOf(ctx):
		return nil, none
	case err != nil:
		return nil, refuse(bridge.CauseStore.With("the registration could not be read"))
	case in.IfMatch != "" && !matches(in.IfMatch, c.etag()):
		return nil, refuseHTTP(http.StatusPreconditionFailed, "the registration was changed in the meantime")
	}
	return c, nil
}
