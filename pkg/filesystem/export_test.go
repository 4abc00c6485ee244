package filesystem

// NewLocalNamed is Local as it is where files without a name do not exist.
func NewLocalNamed() *Local { return &Local{named: true} }
